//! The epoch and what its committees risk, as part of `kakera status`.

use crate::{
    client::Client,
    output::{grouped, odds, table},
};
use kakera_proto::v1::{CommitteeRisk, EpochState, Risk, ShardEpoch};
use serde_json::{Value, json};

/// Odds of a captured committee above which nobody should trust a network with anything.
const TOO_LIKELY: f64 = 1e-6;
/// Committees below this size are captured likelier than that by a quarter of many seats; where there are few seats in
/// all, the figures say less than they seem to (a quarter of four seats is one).
const TOO_SMALL: u32 = 30;

/// What the nodes say of the epoch; nothing of what they do not answer.
pub(super) struct Outlook {
    epoch: Option<EpochState>,
    risk: Option<Risk>,
}

impl Outlook {
    /// Asks; a network whose beacon chain is silent has none.
    pub(super) async fn ask(client: &Client) -> Outlook {
        let (epoch, risk) = tokio::join!(client.epoch(), client.risk());
        Outlook { epoch: epoch.ok(), risk: risk.ok() }
    }

    /// For a program.
    pub(super) fn to_json(&self) -> (Value, Value) {
        (self.epoch.as_ref().map(epoch_json).into(), self.risk.as_ref().map(risk_json).into())
    }

    /// For a person; empty where nothing is known.
    pub(super) fn text(&self) -> String {
        let mut parts = Vec::new();
        if let Some(epoch) = &self.epoch {
            parts.push(headline(epoch));
        }
        if let Some(risk) = &self.risk {
            let rows: Vec<Vec<String>> =
                risk.committees.iter().map(|committee| row(committee, self.epoch.as_ref())).collect();
            let head = ["chain", "era", "fallbacks", "seats", "stalled by", "odds", "captured by", "odds"];
            parts.push(table(&head, &rows));
            parts.push(verdict(risk));
        }
        parts.join("\n")
    }
}

fn headline(epoch: &EpochState) -> String {
    match epoch.slots_an_epoch {
        0 => "one epoch for ever: the first committees stay".to_owned(),
        slots => format!("epoch {}, slot {} of {slots}", epoch.epoch, epoch.slot_in_epoch),
    }
}

fn name(role: &str, shard: u32) -> String {
    if role == "beacon" { "beacon".to_owned() } else { format!("shard {shard}") }
}

fn row(committee: &CommitteeRisk, epoch: Option<&EpochState>) -> Vec<String> {
    let shard = epoch.and_then(|epoch| {
        let is_shard = committee.role == "shard";
        epoch.shards.iter().find(|shard| is_shard && shard.shard == committee.shard)
    });
    let era = match (shard, epoch) {
        (Some(shard), _) => shard.era.to_string(),
        (None, Some(epoch)) => epoch.epoch.to_string(),
        (None, None) => "?".to_owned(),
    };
    vec![
        name(&committee.role, committee.shard),
        era,
        shard.map_or("-".to_owned(), |shard| shard.fallbacks.to_string()),
        committee.seats.to_string(),
        committee.stall_seats.to_string(),
        odds(committee.stall),
        committee.capture_seats.to_string(),
        odds(committee.capture),
    ]
}

/// What the figures mean, plainly.
fn verdict(risk: &Risk) -> String {
    let most = if risk.exact { "" } else { "at most " };
    let mut text = format!(
        "if {} of {} shard seats ({} thousandths) are hostile: some shard stalled (a third hostile or more) with probability \
         {most}{}, captured (more than two thirds) with probability {most}{}",
        grouped(risk.adversary_seats),
        grouped(risk.seats),
        risk.adversary_per_mille,
        odds(risk.some_stall),
        odds(risk.some_capture)
    );
    if let Some(limit) = &risk.limit {
        text.push_str(&format!("; allowed: {} and {}", odds(limit.stall), odds(limit.capture)));
    }
    if risk.some_capture > TOO_LIKELY || risk.committees.iter().any(|committee| committee.seats < TOO_SMALL) {
        text.push_str("\na draw over so few seats shows the mechanism, not security (docs/committees.md)");
    }
    text
}

fn epoch_json(epoch: &EpochState) -> Value {
    let shard = |shard: &ShardEpoch| {
        json!({"shard": shard.shard, "era": shard.era, "root": hex::encode(&shard.root),
               "root_height": shard.root_height, "fallbacks": shard.fallbacks})
    };
    json!({
        "height": epoch.height, "epoch": epoch.epoch, "slot": epoch.slot, "slot_in_epoch": epoch.slot_in_epoch,
        "slots_an_epoch": epoch.slots_an_epoch, "fallback_slots": epoch.fallback_slots,
        "rotation_per_mille": epoch.rotation_per_mille, "unbonding": epoch.unbonding, "turned_at": epoch.turned_at,
        "seed": epoch.seed, "next_seed": epoch.next_seed, "mix": epoch.mix,
        "shards": epoch.shards.iter().map(shard).collect::<Vec<_>>(),
    })
}

fn risk_json(risk: &Risk) -> Value {
    let committee = |committee: &CommitteeRisk| {
        json!({"chain": name(&committee.role, committee.shard), "seats": committee.seats,
               "total_seats": committee.total_seats, "adversary_seats": committee.adversary_seats,
               "stall_seats": committee.stall_seats, "capture_seats": committee.capture_seats,
               "stall": committee.stall, "capture": committee.capture})
    };
    let limit = risk.limit.as_ref().map(|limit| {
        json!({"adversary_per_mille": limit.adversary_per_mille, "stall": limit.stall, "capture": limit.capture})
    });
    json!({
        "adversary_per_mille": risk.adversary_per_mille, "seats": risk.seats, "adversary_seats": risk.adversary_seats,
        "committees": risk.committees.iter().map(committee).collect::<Vec<_>>(), "some_stall": risk.some_stall,
        "some_capture": risk.some_capture, "exact": risk.exact, "limit": limit,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn committee(role: &str, shard: u32) -> CommitteeRisk {
        CommitteeRisk {
            role: role.to_owned(),
            shard,
            seats: 4,
            total_seats: 17,
            adversary_seats: 5,
            stall_seats: 2,
            capture_seats: 3,
            stall: 0.3,
            capture: 0.05,
        }
    }

    #[test]
    fn a_small_network_is_told_that_it_shows_the_mechanism() {
        let shards = vec![ShardEpoch { shard: 1, era: 6, fallbacks: 2, ..ShardEpoch::default() }];
        let epoch = EpochState { epoch: 7, slot_in_epoch: 34, slots_an_epoch: 100, shards, ..EpochState::default() };
        let risk = Risk {
            adversary_per_mille: 250,
            seats: 17,
            adversary_seats: 5,
            committees: vec![committee("beacon", 0), committee("shard", 1)],
            some_stall: 0.8,
            some_capture: 0.1,
            exact: true,
            limit: None,
        };
        let outlook = Outlook { epoch: Some(epoch), risk: Some(risk.clone()) };
        let text = outlook.text();
        assert!(text.starts_with("epoch 7, slot 34 of 100\n"), "{text}");
        assert!(text.contains("if 5 of 17 shard seats (250 thousandths) are hostile"), "{text}");
        assert!(text.contains("shows the mechanism, not security"), "{text}");
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[2], ["beacon", "7", "-", "4", "2", "0.300", "3", "0.050"]);
        assert_eq!(rows[3], ["shard", "1", "6", "2", "4", "2", "0.300", "3", "0.050"]);
        let lucky = Risk { some_capture: 0.0, some_stall: 0.0, ..risk.clone() };
        assert!(Outlook { epoch: None, risk: Some(lucky) }.text().contains("not security"));
        let committees = vec![CommitteeRisk { seats: 128, ..committee("shard", 1) }];
        let large = Risk { some_capture: 1e-9, some_stall: 0.05, exact: false, committees, ..risk };
        let text = Outlook { epoch: None, risk: Some(large) }.text();
        assert!(
            text.contains("captured (more than two thirds) with probability at most 1.0e-9")
                && !text.contains("mechanism"),
            "{text}"
        );
        assert_eq!(Outlook { epoch: None, risk: None }.text(), "");
    }
}
