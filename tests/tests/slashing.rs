//! A member that breaks the rules in a network of real processes: everybody else holds what proves it, and goes on; where
//! there is stake, it loses its own.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use kakera_chain::{
    Member,
    address::Address,
    evidence::{Evidence, Offence},
    genesis::{Epochs, Role, Staking},
    keys::PublicKey,
    units::{ChainId, ShardId, ValidatorId},
};
use kakera_deploy::{Profile, orchestrator::CommandOf, profiles::ValidatorGroup};
use kakera_proto::v1::{self, validators_client::ValidatorsClient};
use kakera_tests::{
    facts,
    liar::{Lie, Plan},
    load::Sender,
    net::Net,
    wait::{PATIENCE, check, until},
};
use std::{collections::BTreeSet, path::PathBuf, thread, time::Duration};

const SHARD: ShardId = ShardId(0);

/// A network of one shard whose last member lies, started.
fn net_with_liar(lie: Lie) -> (Net, String) {
    let profile = Profile::small();
    let liar = "validator-3".to_owned();
    let named = liar.clone();
    let commands = |binaries: kakera_deploy::Binaries| -> CommandOf {
        Box::new(move |network, process| {
            if process.name == named {
                let program = PathBuf::from(env!("CARGO_BIN_EXE_kakera-liar"));
                Plan { lie, after: 8 }.command(program, &binaries, network, process)
            } else {
                binaries.command(network, process)
            }
        })
    };
    let net = Net::create_with(&profile, |_| {}, commands).started();
    assert!(net.members(ChainId::Shard(SHARD)).contains(&liar));
    (net, liar)
}

/// Who has the seat of a member of the shard, and its key, as the nodes list them.
fn seat(net: &Net, node: &str, member: Member) -> Option<(ValidatorId, PublicKey)> {
    let members = net.status(node).unwrap().members;
    let name = &members.iter().find(|status| status.member == u32::from(member.0))?.validator;
    let registry = &net.genesis().genesis.validators;
    let place = registry.iter().position(|validator| validator.name == *name)?;
    Some((ValidatorId(u32::try_from(place).ok()?), registry[place].key))
}

/// Runs a lie under load: what the honest members hold in the end, each piece checked.
fn convicted(lie: Lie) -> Vec<Offence> {
    let (net, liar) = net_with_liar(lie);
    let mut honest = net.members(ChainId::Shard(SHARD));
    honest.retain(|name| *name != liar);
    let mut senders = Sender::crowd(&net, "slashing", SHARD, 1, 10_000);
    for name in &honest {
        until(&format!("{name} to convict {liar} alone"), || {
            senders[0].push(&net, &honest[0]);
            thread::sleep(Duration::from_millis(40));
            let status = net.status(name).map_err(|status| status.to_string())?;
            let faulty: Vec<&str> =
                status.members.iter().filter(|member| member.faulty).map(|member| &*member.validator).collect();
            assert!(faulty.iter().all(|name| *name == liar), "{name} convicts {faulty:?}");
            let convicted = faulty.len() == 1 && status.totals.unwrap().equivocators == 1;
            check(convicted, || format!("certified {}, {}", status.certified_height, status.stall_reason))
        });
    }
    let height = net.status(&honest[0]).unwrap().certified_height;
    until("the chain to go on", || {
        senders[0].push(&net, &honest[0]);
        let status = net.status(&honest[1]).map_err(|status| status.to_string())?;
        check(status.certified_height >= height + 10, || format!("certified {}", status.certified_height))
    });
    senders[0].finish(&net, &honest[0]);
    let blocks = facts::agreed_blocks(&net, &honest);
    facts::check_supply(&net, SHARD, &blocks);
    facts::check_exactly_once(&blocks, senders[0].ids());
    facts::check_no_equivocation(&net, ChainId::Beacon);

    let seats: Vec<_> = (0..4).map(|member| seat(&net, &honest[0], Member(member))).collect();
    net.orchestrator().stop_all(PATIENCE).unwrap();
    let keys = |_, _, member: Member| seats.get(member.index()).copied().flatten();
    let place = net.genesis().genesis.validators.iter().position(|validator| validator.name == liar).unwrap();
    let judge = |evidence: &Evidence| {
        let guilty = evidence.verify(net.genesis().id, keys).unwrap();
        assert_eq!(guilty.validator.0 as usize, place);
        guilty.offence
    };
    let held: Vec<Vec<Offence>> =
        honest.iter().map(|name| facts::evidence(&net, name).iter().map(judge).collect()).collect();
    for (name, offences) in honest.iter().zip(&held) {
        println!("{name} holds {offences:?}");
        assert!(!offences.is_empty(), "{name} has nothing on disk");
    }
    held.into_iter().flatten().collect()
}

#[test]
fn who_says_two_messages_of_one_seq_is_convicted_by_all_and_the_shard_goes_on() {
    let offences = convicted(Lie::Equivocate);
    assert!(offences.iter().all(|offence| matches!(offence, Offence::Equivocation { .. })), "{offences:?}");
}

#[test]
fn who_signs_two_blocks_of_one_height_is_convicted_by_all_and_the_shard_goes_on() {
    let offences = convicted(Lie::Conflict);
    let same = |offence: &Offence| matches!(offence, Offence::ConflictingFinality { low, high } if low == high);
    assert!(offences.iter().all(same), "{offences:?}");
}

#[test]
fn who_signs_a_block_and_later_another_branch_is_convicted_by_the_headers_between_them() {
    let offences = convicted(Lie::ConflictAcross);
    let across = |offence: &Offence| matches!(offence, Offence::ConflictingFinality { low, high } if low < high);
    assert!(offences.iter().all(across), "{offences:?}");
}

/// What one seat costs.
const SEAT: u64 = 1_000_000_000;

/// A network of one shard with epochs and stake, two who stand by, and accounts that can pay for reports.
fn with_stake() -> Profile {
    let mut profile = Profile::small();
    profile.validators[1] = ValidatorGroup { role: Role::Shard, count: 6, seats: 1 };
    let (slots, fallback_slots, rotation_per_mille, unbonding) = (40, 15, 250, 4);
    profile.epochs = Some(Epochs { slots, fallback_slots, rotation_per_mille, beacon_seats: None, unbonding });
    profile.staking = Some(Staking { seat: SEAT, churn_seats: 4, reward: 1_000, reporter_per_mille: 100 });
    profile.owner_balance = Some(10_000_000);
    profile
}

fn slashings(net: &Net, node: &str) -> Result<Vec<v1::Slashing>, tonic::Status> {
    let request = v1::SlashingsRequest { from: 0 };
    let answer = net.ask(node, |channel| async { ValidatorsClient::new(channel).slashings(request).await })?;
    Ok(answer.slashings)
}

fn validator(net: &Net, node: &str, key: &PublicKey) -> Result<v1::Validator, String> {
    let request = v1::ListValidatorsRequest { from: 0, key: key.0.to_vec() };
    let answer = net.ask(node, |channel| async { ValidatorsClient::new(channel).list(request).await });
    answer.map_err(|status| status.to_string())?.validators.pop().ok_or_else(|| "it is not listed".to_owned())
}

/// Runs a lie in a network with stake, until who lied is slashed; what it was slashed for.
fn slashed(lie: Lie) -> v1::Slashing {
    let profile = with_stake();
    let commands = |binaries: kakera_deploy::Binaries| -> CommandOf {
        Box::new(move |network, process| {
            let liar = network.members_of(SHARD).last().is_some_and(|liar| liar.name == process.name);
            let program = PathBuf::from(env!("CARGO_BIN_EXE_kakera-liar"));
            let plan = Plan { lie, after: 8 };
            if liar { plan.command(program, &binaries, network, process) } else { binaries.command(network, process) }
        })
    };
    let net = Net::create_with(&profile, |_| {}, commands);
    let mut honest = net.members(ChainId::Shard(SHARD));
    let liar = honest.pop().unwrap();
    net.orchestrator().start_all().unwrap();
    net.wait_listening(&net.all());
    for chain in net.chains() {
        net.wait_active(&net.members(chain));
        net.wait_certified(&net.members(chain)[0], 1);
    }
    let registry = &net.genesis().genesis.validators;
    let key = registry.iter().find(|validator| validator.name == liar).unwrap().key;
    let witness = net.members(ChainId::Beacon).remove(0);

    let mut senders = Sender::crowd(&net, "slashed", SHARD, 1, 10_000);
    let mut told = until("the liar to be slashed", || {
        senders[0].push(&net, &honest[0]);
        thread::sleep(Duration::from_millis(40));
        let told = slashings(&net, &witness).map_err(|status| status.to_string())?;
        check(!told.is_empty(), || format!("epoch {}", net.beacon_state(&witness).map_or(0, |state| state.height)))
            .map(|()| told)
    });
    assert_eq!(told.len(), 1, "nobody else: {told:?}");
    let told = told.pop().unwrap();
    println!("{told:?}");
    assert_eq!((&told.name, &told.key[..]), (&liar, &key.0[..]));
    assert_eq!((told.role.as_str(), told.shard), ("shard", 0));
    assert!(told.at_epoch <= told.epoch + 2, "within two epochs");
    assert_eq!((told.burned + told.reporter_share) / SEAT, 1, "its stake, and what it had earned");
    assert_eq!(told.reporter_share, (told.burned + told.reporter_share) / 10);
    let accounts: BTreeSet<String> = registry
        .iter()
        .filter(|validator| validator.name != liar)
        .map(|validator| Address::of(&validator.key).to_string())
        .collect();
    assert!(accounts.contains(&told.reporter), "an honest witness has it: {}", told.reporter);

    for name in honest.iter().chain([&witness]) {
        until(&format!("{name} to have read of it"), || {
            let entry = validator(&net, name, &key)?;
            check(entry.status == "slashed" && entry.stake == 0 && entry.rewards == 0, || format!("{entry:?}"))
        });
        assert_eq!(slashings(&net, name).unwrap(), std::slice::from_ref(&told), "{name}");
    }
    until("the liar to have no seat", || {
        senders[0].push(&net, &honest[0]);
        let entry = validator(&net, &witness, &key)?;
        check(entry.seated.is_empty() && entry.named.is_empty(), || format!("{entry:?}"))
    });
    let height = net.status(&honest[0]).unwrap().certified_height;
    until("the chain to go on", || {
        senders[0].push(&net, &honest[0]);
        let status = net.status(&honest[0]).map_err(|status| status.to_string())?;
        check(status.certified_height >= height + 10, || format!("certified {}", status.certified_height))
    });
    senders[0].finish(&net, &honest[0]);
    told
}

#[test]
fn who_says_two_messages_of_one_seq_is_slashed_within_two_epochs() {
    assert_eq!(slashed(Lie::Equivocate).offence, "equivocation");
}

#[test]
fn who_signs_two_blocks_of_one_height_is_slashed_within_two_epochs() {
    let told = slashed(Lie::Conflict);
    assert_eq!((told.offence.as_str(), told.low_height), ("conflicting-finality", told.high_height));
}

#[test]
fn who_signs_a_block_and_later_another_branch_is_slashed_within_two_epochs() {
    let told = slashed(Lie::ConflictAcross);
    assert!(told.offence == "conflicting-finality" && told.low_height < told.high_height, "{told:?}");
}
