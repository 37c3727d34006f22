//! A shard process: runs one validator's replica of its shard chain.

use kakera_chain::genesis::Role;
use std::process::ExitCode;

fn main() -> ExitCode {
    kakera_node::run::main(Role::Shard)
}
