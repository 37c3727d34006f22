//! A beacon process: runs one validator's replica of the beacon chain.

use kakera_chain::genesis::Role;
use std::process::ExitCode;

fn main() -> ExitCode {
    kakera_node::run::main(Role::Beacon)
}
