//! The API from another language: `client.py`, which shares no code with this workspace, against a network.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use kakera_chain::units::{ChainId, ShardId};
use kakera_deploy::Profile;
use kakera_tests::{net::Net, program, scan};
use std::{env, process::Command, time::Duration};

#[test]
fn a_python_program_signs_submits_and_tracks_by_the_documented_bytes_alone() {
    let Some(python) = env::var_os("KAKERA_PYTHON") else {
        panic!(
            "KAKERA_PYTHON is not set: `make test` makes a virtual environment from tests/requirements.txt and sets it"
        );
    };
    let net = Net::start(&Profile::demo());
    let endpoint = |chain| &net.network().process(&net.members(chain)[1]).unwrap().endpoint;
    let mut command = Command::new(python);
    command.arg(scan::root().join("tests/client.py"));
    command.arg("--proto").arg(scan::root().join("proto"));
    command.arg("--genesis").arg(net.network().dir().join("genesis.toml"));
    command.arg("--faucet").arg(net.network().dir().join("faucet/shard-0.key"));
    command.arg("--shard-node").arg(endpoint(ChainId::Shard(ShardId(0))));
    command.arg("--beacon-node").arg(endpoint(ChainId::Beacon));
    let ended = program::run(&mut command, Duration::from_secs(240));
    println!("{}", ended.all());
    assert_eq!(ended.code, Some(0), "{}", ended.all());
}
