//! `kakera status`: every node, how far it is, and what holds a chain back; the epoch and what its committees risk.

mod epoch;

use crate::{
    client::Client,
    failure::{Failure, Result},
    locate::Place,
    output::table,
};
use kakera_deploy::Network;
use kakera_proto::v1::{ChainName, HostedChain, NodeStatus};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The columns of a node's row.
const HEAD: [&str; 13] = [
    "node",
    "chain",
    "duty",
    "phase",
    "slot",
    "head",
    "finalized",
    "certified",
    "beacon",
    "peers",
    "pool",
    "forks",
    "process",
];
/// What stands where a node has no figure of its own.
const NONE: &str = "-";

/// What one node answered, or why it did not.
struct Answer {
    name: String,
    endpoint: String,
    process: Option<&'static str>,
    status: std::result::Result<NodeStatus, String>,
}

/// Asks all nodes at once and shows their answers.
pub(crate) async fn run(place: &Place) -> Result<()> {
    let answers = ask_all(place).await?;
    if answers.iter().all(|answer| answer.status.is_err()) {
        return Err(Failure::Connection(
            "no node answers; start the network with `kakera testnet up`, or name a node with --node HOST:PORT"
                .to_owned(),
        ));
    }
    let notes = notes(&answers);
    let answering: Vec<&str> =
        answers.iter().filter(|answer| answer.status.is_ok()).map(|answer| answer.endpoint.as_str()).collect();
    let outlook = epoch::Outlook::ask(&Client::new(&answering)?).await;
    let (epoch, risk) = outlook.to_json();
    let value = json!({
        "nodes": answers.iter().map(to_json).collect::<Vec<_>>(),
        "notes": notes,
        "epoch": epoch,
        "risk": risk,
    });
    place.output.data(&value, || {
        let rows: Vec<Vec<String>> = answers.iter().map(row).collect();
        let mut text = table(&HEAD, &rows);
        for note in &notes {
            text.push_str(&format!("\n! {note}"));
        }
        let outlook = outlook.text();
        if outlook.is_empty() { text } else { format!("{text}\n\n{outlook}") }
    });
    Ok(())
}

async fn ask_all(place: &Place) -> Result<Vec<Answer>> {
    let endpoints = place.endpoints()?;
    let network: Option<Network> = place.network().ok();
    let client = Client::new(&endpoints)?;
    let mut asked = tokio::task::JoinSet::new();
    for index in 0..client.len() {
        let one = client.only(index);
        asked.spawn(async move { (index, one.status().await) });
    }
    let mut statuses = BTreeMap::new();
    while let Some(joined) = asked.join_next().await {
        let (index, outcome) = joined.map_err(|error| anyhow::anyhow!("asking a node failed: {error}"))?;
        statuses.insert(index, outcome.map_err(|failure| failure.to_string()));
    }
    let answer = |(index, status): (usize, std::result::Result<NodeStatus, String>)| {
        let endpoint = client.endpoint(index).to_owned();
        let process = network.as_ref().and_then(|network| {
            let process = network.processes().iter().find(|process| process.endpoint == endpoint)?;
            Some((process.name.clone(), network.state(&process.name).ok()?.word()))
        });
        let name = match (&process, &status) {
            (Some((name, _)), _) => name.clone(),
            (None, Ok(status)) => status.validator.clone(),
            (None, Err(_)) => endpoint.clone(),
        };
        Answer { name, endpoint, process: process.map(|(_, word)| word), status }
    };
    Ok(statuses.into_iter().map(answer).collect())
}

/// What a node serves first: a chain's name, or "standby" of one that serves none.
fn serves(status: &NodeStatus) -> String {
    if status.role == "shard" { format!("shard {}", status.shard) } else { status.role.clone() }
}

/// The chain that a node's figures are of.
fn chain_of(status: &NodeStatus) -> String {
    if status.role == "shard" { serves(status) } else { "beacon".to_owned() }
}

fn name(chain: &ChainName) -> String {
    if chain.beacon { "beacon".to_owned() } else { format!("shard {}", chain.shard) }
}

/// Why a node holds what it serves first, and which other shards it holds, and why: `member +named 2`.
fn duty(status: &NodeStatus) -> String {
    let chain = serves(status);
    let (mut first, mut others) = (None, Vec::new());
    for (hosted, named) in status.hosted.iter().filter_map(|hosted| Some((hosted, hosted.chain.as_ref()?))) {
        if name(named) == chain {
            first = Some(hosted.duty.clone());
        } else if !named.beacon {
            others.push(format!("+{} {}", hosted.duty, named.shard));
        }
    }
    let all: Vec<String> = first.into_iter().chain(others).collect();
    if all.is_empty() { NONE.to_owned() } else { all.join(" ") }
}

fn row(answer: &Answer) -> Vec<String> {
    let process = answer.process.unwrap_or("").to_owned();
    let Ok(status) = &answer.status else {
        let mut row = vec![answer.name.clone(), String::new(), String::new(), "no answer".to_owned()];
        row.resize(HEAD.len() - 1, String::new());
        row.push(process);
        return row;
    };
    // A standby's figures are of the beacon chain, which it follows; who follows does not judge finality itself.
    let (stands_by, follows) = (status.role == "standby", status.phase == "observer");
    let own = |figure: u64| if stands_by { NONE.to_owned() } else { figure.to_string() };
    let beacon = match status.role.as_str() {
        "shard" => status.beacon_height.to_string(),
        "standby" => status.certified_height.to_string(),
        _ => NONE.to_owned(),
    };
    let totals = status.totals.unwrap_or_default();
    vec![
        answer.name.clone(),
        serves(status),
        duty(status),
        status.phase.clone(),
        own(status.slot),
        own(status.head_height),
        if follows { NONE.to_owned() } else { own(status.finalized_height) },
        own(status.certified_height),
        beacon,
        status.connected_peers.to_string(),
        own(status.pool_size.into()),
        own(totals.forks),
        process,
    ]
}

/// What a person should know: each silent or faulty validator once, and what holds up each chain that stands still.
fn notes(answers: &[Answer]) -> Vec<String> {
    let mut notes = BTreeSet::new();
    for answer in answers {
        match &answer.status {
            Err(_) => {
                notes.insert(format!("{} does not answer", answer.name));
            }
            Ok(status) => {
                let chain = chain_of(status);
                for member in &status.members {
                    if member.faulty {
                        notes.insert(format!("{chain}: {} equivocated: its votes count nothing", member.validator));
                    } else if member.silent && member.validator != status.validator {
                        notes.insert(format!("{chain}: {} is silent", member.validator));
                    }
                }
                if status.stalled {
                    notes.insert(format!("{chain}: stands still: {}", status.stall_reason));
                }
            }
        }
    }
    notes.into_iter().collect()
}

fn to_json(answer: &Answer) -> Value {
    let Ok(status) = &answer.status else {
        return json!({"name": answer.name, "process": answer.process, "error": answer.status.as_ref().err()});
    };
    let totals = status.totals.unwrap_or_default();
    let supply = status.supply.map(|supply| {
        json!({"balances": supply.balances, "held": supply.held, "burned": supply.burned, "sent": supply.sent,
               "received": supply.received})
    });
    let members: Vec<Value> = status
        .members
        .iter()
        .map(|member| {
            json!({"member": member.member, "validator": member.validator, "weight": member.weight,
                   "messages": member.messages, "latest_slot": member.latest_slot, "faulty": member.faulty,
                   "silent": member.silent})
        })
        .collect();
    json!({
        "name": answer.name, "process": answer.process, "network_id": hex::encode(&status.network_id),
        "network_name": status.network_name, "role": status.role,
        "shard": (status.role == "shard").then_some(status.shard), "phase": status.phase, "slot": status.slot,
        "slot_ms": status.slot_ms, "head_height": status.head_height, "head_id": hex::encode(&status.head_id),
        "finalized_height": status.finalized_height, "certified_height": status.certified_height,
        "certified_id": hex::encode(&status.certified_id), "state_root": hex::encode(&status.state_root),
        "beacon_height": status.beacon_height, "connected_peers": status.connected_peers,
        "pool_size": status.pool_size, "stalled": status.stalled, "stall_reason": status.stall_reason,
        "started_at_ms": status.started_at_ms, "epoch": status.epoch, "members": members, "supply": supply,
        "hosted": status.hosted.iter().map(hosted_json).collect::<Vec<_>>(),
        "totals": {"blocks": totals.blocks, "transactions": totals.transactions, "receipts_out": totals.receipts_out,
                   "receipts_in": totals.receipts_in, "messages": totals.messages, "forks": totals.forks,
                   "equivocators": totals.equivocators, "undone": totals.undone},
    })
}

fn hosted_json(hosted: &HostedChain) -> Value {
    json!({"chain": hosted.chain.as_ref().map(name), "duty": hosted.duty, "phase": hosted.phase, "epoch": hosted.epoch,
           "certified_height": hosted.certified_height})
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;
    use kakera_proto::v1::{MemberStatus, Totals};

    fn node(stalled: bool, silent: &[&str]) -> Answer {
        let member = |name: &&str| MemberStatus { validator: (*name).to_owned(), silent: true, ..Default::default() };
        let status = NodeStatus {
            role: "shard".to_owned(),
            shard: 1,
            stalled,
            stall_reason: "2 of 4 are silent".to_owned(),
            members: silent.iter().map(member).collect(),
            ..Default::default()
        };
        Answer { name: "validator-0".to_owned(), endpoint: String::new(), process: Some("running"), status: Ok(status) }
    }

    fn hosts(shard: Option<u32>, duty: &str) -> HostedChain {
        let chain = Some(ChainName { beacon: shard.is_none(), shard: shard.unwrap_or(0) });
        HostedChain { chain, duty: duty.to_owned(), certified_height: 3, ..HostedChain::default() }
    }

    /// A node whose chain has heights, as far as it judges them.
    fn holder(role: &str, phase: &str, hosted: &[HostedChain]) -> Answer {
        let status = NodeStatus {
            role: role.to_owned(),
            shard: 1,
            phase: phase.to_owned(),
            slot: 9,
            head_height: 4,
            finalized_height: if phase == "observer" { 0 } else { 2 },
            certified_height: 3,
            beacon_height: if role == "shard" { 8 } else { 0 },
            hosted: hosted.to_vec(),
            totals: Some(Totals { undone: 6, ..Totals::default() }),
            ..NodeStatus::default()
        };
        Answer { status: Ok(status), ..node(false, &[]) }
    }

    #[test]
    fn one_sees_who_votes_who_follows_and_who_stands_by() {
        let beacon = hosts(None, "follower");
        let own = |duty: &str| [beacon.clone(), hosts(Some(1), duty)];
        let shown = |answer: &Answer| row(answer)[1..9].join("|");
        assert_eq!(shown(&holder("shard", "active", &own("member"))), "shard 1|member|active|9|4|2|3|8");
        for duty in ["keeper", "named", "left"] {
            let expected = format!("shard 1|{duty}|observer|9|4|-|3|8");
            assert_eq!(shown(&holder("shard", "observer", &own(duty))), expected);
        }
        let both = [beacon.clone(), hosts(Some(1), "member"), hosts(Some(2), "named")];
        assert_eq!(row(&holder("shard", "active", &both))[2], "member +named 2");
        let standby = holder("standby", "observer", std::slice::from_ref(&beacon));
        assert_eq!(shown(&standby), "standby|-|observer|-|-|-|-|3");
        assert_eq!(row(&holder("standby", "observer", &[beacon.clone(), hosts(Some(2), "named")]))[2], "+named 2");
        let member = holder("beacon", "active", &[hosts(None, "member")]);
        assert_eq!(shown(&member), "beacon|member|active|9|4|2|3|-");
        let value = to_json(&holder("shard", "active", &both));
        let named = json!({"chain": "shard 2", "duty": "named", "phase": "", "epoch": 0, "certified_height": 3});
        assert_eq!((&value["hosted"][2], &value["totals"]["undone"]), (&named, &json!(6)));
    }

    #[test]
    fn a_standby_tells_of_the_beacon_chain() {
        let mut standby = node(true, &["validator-3"]);
        standby.status.as_mut().unwrap().role = "standby".to_owned();
        assert_eq!(notes(&[standby]), ["beacon: stands still: 2 of 4 are silent", "beacon: validator-3 is silent"]);
    }

    #[test]
    fn silent_validators_and_stalls_are_named_once() {
        let dead = Answer {
            name: "validator-3".to_owned(),
            endpoint: String::new(),
            process: Some("dead"),
            status: Err("gone".to_owned()),
        };
        let answers = [node(true, &["validator-3", "validator-5"]), node(true, &["validator-3"]), dead];
        assert_eq!(
            notes(&answers),
            [
                "shard 1: stands still: 2 of 4 are silent",
                "shard 1: validator-3 is silent",
                "shard 1: validator-5 is silent",
                "validator-3 does not answer"
            ]
        );
        assert!(notes(&[node(false, &[])]).is_empty());
    }

    #[test]
    fn rows_of_answers_and_silence_have_one_width() {
        let dead =
            Answer { name: "x".to_owned(), endpoint: String::new(), process: None, status: Err("gone".to_owned()) };
        assert_eq!(row(&node(false, &[])).len(), row(&dead).len());
    }
}
