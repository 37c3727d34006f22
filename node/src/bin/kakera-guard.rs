//! Carries what a validator has said from one machine to another.

use std::process::ExitCode;

fn main() -> ExitCode {
    kakera_node::guard::tool::main()
}
