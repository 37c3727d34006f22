//! `kakera status`: every node, how far it is, and what holds a chain back; the epoch and what its committees risk.

mod epoch;

use crate::{
    client::Client,
    failure::{Failure, Result},
    locate::Place,
    output::table,
};
use kakera_deploy::Network;
use kakera_proto::v1::NodeStatus;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

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
        let head = [
            "node",
            "chain",
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
        let mut text = table(&head, &rows);
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

/// The chain's name.
pub(crate) fn chain_of(status: &NodeStatus) -> String {
    // "standby" serves no shard.
    if status.role == "shard" { format!("shard {}", status.shard) } else { status.role.clone() }
}

fn row(answer: &Answer) -> Vec<String> {
    let process = answer.process.unwrap_or("").to_owned();
    let Ok(status) = &answer.status else {
        let mut row = vec![answer.name.clone(), String::new(), "no answer".to_owned()];
        row.resize(11, String::new());
        row.push(process);
        return row;
    };
    let beacon = if status.role != "shard" { "-".to_owned() } else { status.beacon_height.to_string() };
    let totals = status.totals.unwrap_or_default();
    vec![
        answer.name.clone(),
        chain_of(status),
        status.phase.clone(),
        status.slot.to_string(),
        status.head_height.to_string(),
        status.finalized_height.to_string(),
        status.certified_height.to_string(),
        beacon,
        status.connected_peers.to_string(),
        status.pool_size.to_string(),
        totals.forks.to_string(),
        process,
    ]
}

/// What a person should know: each silent or faulty validator once, and each chain's reason to stall.
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
                    notes.insert(format!("{chain}: stalled: {}", status.stall_reason));
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
        "started_at_ms": status.started_at_ms, "members": members, "supply": supply,
        "totals": {"blocks": totals.blocks, "transactions": totals.transactions, "receipts_out": totals.receipts_out,
                   "receipts_in": totals.receipts_in, "messages": totals.messages, "forks": totals.forks,
                   "equivocators": totals.equivocators},
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kakera_proto::v1::MemberStatus;

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
                "shard 1: stalled: 2 of 4 are silent",
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
