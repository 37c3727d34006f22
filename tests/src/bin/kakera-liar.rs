//! A shard process that breaks the rules, as the environment says ([`kakera_tests::liar`]): for tests alone, and no part of
//! what is installed.

use kakera_chain::genesis::Role;
use kakera_tests::liar::Plan;
use std::process::ExitCode;

fn main() -> ExitCode {
    match Plan::from_env() {
        Ok(plan) => kakera_node::run::main_with(Role::Shard, &plan.hooks()),
        Err(reason) => {
            eprintln!("error: {reason}");
            ExitCode::from(2)
        }
    }
}
