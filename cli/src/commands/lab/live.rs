//! `kakera lab explain` of a running network: one node of the chain is asked.

use super::explain::{Shown, Votes};
use crate::{
    args::{Chain, ExplainArgs},
    client::Client,
    failure::{Failure, Result},
    locate::Place,
};
use kakera_cbc::{LevelFinding, Member, MemberFinding, Slot, Stand};
use kakera_proto::v1::{self, NodeStatus, explain_request::Which};
use serde_json::json;
use std::collections::BTreeMap;

/// Asks a node of the chain and shows its answer.
pub(super) async fn run(args: &ExplainArgs, place: &Place) -> Result<()> {
    let which = match (&args.block, args.height) {
        (Some(id), _) => Which::Id(id.to_vec()),
        (None, Some(height)) => Which::Height(height),
        (None, None) => return Err(Failure::Usage("name a block with --block ID or --height N".to_owned())),
    };
    let client = place.client()?;
    let chains = chains(&client).await?;
    let asked: Vec<(&Chain, &Vec<usize>)> =
        chains.iter().filter(|(chain, _)| args.chain.is_none_or(|c| c == **chain)).collect();
    if asked.is_empty() {
        let known: Vec<String> = chains.keys().map(word).collect();
        let wanted = args.chain.as_ref().map_or_else(String::new, word);
        return Err(Failure::NotFound(format!("no node of {wanted} answers; there are {}", known.join(", "))));
    }
    if asked.len() > 1 && matches!(which, Which::Height(_)) {
        let known: Vec<String> = chains.keys().map(word).collect();
        return Err(Failure::Usage(format!("every chain has heights: add --chain, one of {}", known.join(", "))));
    }
    let mut last = Failure::NotFound("no chain was asked".to_owned());
    for (chain, nodes) in asked {
        match client.subset(nodes).explain(which.clone()).await {
            Ok(answer) => {
                shown(*chain, answer).show(place.output);
                return Ok(());
            }
            Err(failure @ Failure::NotFound(_)) => last = failure,
            Err(failure) => return Err(failure),
        }
    }
    Err(last)
}

fn word(chain: &Chain) -> String {
    match chain {
        Chain::Beacon => "beacon".to_owned(),
        Chain::Shard(shard) => format!("shard-{shard}"),
    }
}

/// The nodes that answer, by their chain.
async fn chains(client: &Client) -> Result<BTreeMap<Chain, Vec<usize>>> {
    let mut asked = tokio::task::JoinSet::new();
    for index in 0..client.len() {
        let one = client.only(index);
        asked.spawn(async move { (index, one.status().await) });
    }
    let mut chains: BTreeMap<Chain, Vec<usize>> = BTreeMap::new();
    let mut last = Failure::Connection("no node was asked".to_owned());
    while let Some(joined) = asked.join_next().await {
        match joined.map_err(|error| anyhow::anyhow!("asking a node failed: {error}"))? {
            (index, Ok(status)) => chains.entry(chain_of(&status)).or_default().push(index),
            (_, Err(failure)) => last = failure,
        }
    }
    if chains.is_empty() { Err(last) } else { Ok(chains) }
}

fn chain_of(status: &NodeStatus) -> Chain {
    if status.role == "shard" { Chain::Shard(status.shard) } else { Chain::Beacon }
}

fn shown(chain: Chain, answer: v1::BlockExplanation) -> Shown {
    let id = hex::encode(&answer.block_id);
    let conflict = (!answer.conflicts_with.is_empty()).then(|| hex::encode(&answer.conflicts_with));
    let certified = if answer.certified { ", certified" } else { ", not certified" };
    let what = format!("block {} of {}, slot {}, {id}{certified}", answer.height, word(&chain), answer.slot);
    let more = vec![
        ("chain", json!(word(&chain))),
        ("height", json!(answer.height)),
        ("slot", json!(answer.slot)),
        ("certified", json!(answer.certified)),
        ("votes_held", json!(answer.votes_held)),
        ("conflicts_with", json!(conflict)),
    ];
    let votes = answer.votes_held.then(|| Votes {
        total: answer.total_weight,
        threshold: answer.threshold,
        support: answer.support,
        fault_weight: answer.fault_weight,
        levels: answer.levels.iter().map(level).collect(),
        target: answer.target,
        members: answer.members.into_iter().map(member).collect(),
    });
    let v1::BlockExplanation { r#final: is_final, reason, sentence, .. } = answer;
    Shown { what, block: id, is_final, reason, sentence, votes, more }
}

fn level(level: &v1::LevelFinding) -> LevelFinding {
    let some = |number: u64| (number > 0).then_some(number);
    LevelFinding { level: level.level, needed: some(level.needed), found: some(level.found) }
}

fn member(found: v1::MemberFinding) -> (String, MemberFinding<String, String>) {
    let some = |id: &[u8]| (!id.is_empty()).then(|| hex::encode(id));
    let evidence = |nth: usize| found.evidence.get(nth).map(hex::encode).unwrap_or_default();
    let stand = match found.stand.as_str() {
        "supports" => Stand::Supports { level: found.level },
        "elsewhere" => Stand::Elsewhere { vote: hex::encode(&found.vote), branch: hex::encode(&found.branch) },
        "faulty" => Stand::Faulty { first: evidence(0), second: evidence(1) },
        "behind" => Stand::Behind { vote: some(&found.vote) },
        _ => Stand::Silent,
    };
    let last = some(&found.last_message);
    let finding = MemberFinding {
        member: Member(u16::try_from(found.member).unwrap_or(u16::MAX)),
        weight: found.weight,
        last_slot: last.as_ref().map(|_| Slot(found.last_slot)),
        last,
        stand,
    };
    (found.validator, finding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_whatever_it_holds_is_shown() {
        let answer = v1::BlockExplanation {
            block_id: vec![0xab; 32],
            height: 7,
            votes_held: true,
            total_weight: 3,
            levels: vec![v1::LevelFinding { level: 300, needed: 2, found: u64::MAX }],
            members: vec![
                v1::MemberFinding { stand: "faulty".to_owned(), member: u32::MAX, ..Default::default() },
                v1::MemberFinding { stand: "new words".to_owned(), ..Default::default() },
            ],
            ..Default::default()
        };
        let shown = shown(Chain::Shard(1), answer);
        assert!(shown.what.starts_with("block 7 of shard-1, slot 0, abab"), "{}", shown.what);
        assert!(shown.votes.is_some_and(|votes| votes.levels[0].tolerated(3).is_none() && votes.members.len() == 2));
        let gone = v1::BlockExplanation { certified: true, r#final: true, ..Default::default() };
        assert!(super::shown(Chain::Beacon, gone).votes.is_none());
    }
}
