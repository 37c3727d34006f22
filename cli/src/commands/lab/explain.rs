//! `kakera lab explain`: why a block is final, or what holds it back, for people and programs.

use super::{cases, printable, shortened};
use crate::{
    args::ExplainArgs,
    failure::Result,
    output::{Output, table},
};
use kakera_cbc::{LevelFinding, MemberFinding, Stand, decimal, lab};
use serde_json::{Value, json};
use std::path::Path;

/// A block's finality as it is shown, from a case or from a node.
pub(super) struct Shown {
    /// Which block, for a person.
    pub(super) what: String,
    /// Its name or id.
    pub(super) block: String,
    /// Whether it is final in the view.
    pub(super) is_final: bool,
    /// A stable word.
    pub(super) reason: String,
    /// What holds it back, in words.
    pub(super) sentence: String,
    /// The levels and members, while its votes are held.
    pub(super) votes: Option<Votes>,
    /// More for programs.
    pub(super) more: Vec<(&'static str, Value)>,
}

/// Levels and members.
pub(super) struct Votes {
    /// W.
    pub(super) total: u64,
    /// t.
    pub(super) threshold: u64,
    /// Weight for the block.
    pub(super) support: u64,
    /// Weight of the faulty.
    pub(super) fault_weight: u64,
    /// Levels 1 to K.
    pub(super) levels: Vec<LevelFinding>,
    /// The nearest level.
    pub(super) target: u32,
    /// Members with their names.
    pub(super) members: Vec<(String, MemberFinding<String, String>)>,
}

/// Explains a message of a case.
pub(super) fn of_case(path: &Path, args: &ExplainArgs, output: Output) -> Result<()> {
    let candidate = args.candidate.as_deref().unwrap_or_default();
    let (number, case) = cases::pick(path, args.id.as_deref())?;
    let found = lab::explain(&case, args.view.as_deref(), candidate);
    let found = found.map_err(|error| cases::refuse(number, &error.to_string()))?;
    let view = case.view(args.view.as_deref()).ok().flatten().map(|view| view.name.clone());
    let seen = view.as_ref().map_or(String::new(), |view| format!(" in view {view}"));
    let names: Vec<String> = case.validators.iter().map(|validator| validator.name.to_string()).collect();
    let shown = Shown {
        what: format!("{candidate} of {}{seen}", case.id),
        block: candidate.to_owned(),
        is_final: found.is_final,
        reason: found.hold.word().to_owned(),
        sentence: found.sentence(|member| names[member.index()].clone()),
        more: vec![("case", json!(case.id)), ("view", json!(view))],
        votes: Some(Votes {
            total: found.total,
            threshold: found.threshold,
            support: found.support,
            fault_weight: found.fault_weight,
            levels: found.levels,
            target: found.target,
            members: names.iter().cloned().zip(found.members).collect(),
        }),
    };
    shown.show(output);
    Ok(())
}

impl Shown {
    /// Prints it.
    pub(super) fn show(&self, output: Output) {
        output.data(&self.to_json(), || self.text());
    }

    fn text(&self) -> String {
        let verdict = if self.is_final { "final" } else { "not final" };
        let mut text = format!("{}: {verdict}\n{}", printable(&self.what), printable(&self.sentence));
        if let Some(votes) = &self.votes {
            text.push_str(&format!(
                "\n\nweight {}, threshold {}, faulty {}, for it {}\n\n{}\n\n{}",
                votes.total,
                votes.threshold,
                votes.fault_weight,
                votes.support,
                votes.level_table(),
                votes.member_table()
            ));
        }
        text
    }

    fn to_json(&self) -> Value {
        let mut value = json!({
            "block": self.block, "final": self.is_final, "reason": self.reason, "sentence": self.sentence,
        });
        for (key, more) in &self.more {
            value[*key] = more.clone();
        }
        if let Some(votes) = &self.votes {
            value["total"] = json!(votes.total);
            value["threshold"] = json!(votes.threshold);
            value["support"] = json!(votes.support);
            value["fault_weight"] = json!(votes.fault_weight);
            value["target"] = json!(votes.target);
            value["levels"] = votes.levels.iter().map(|level| level_json(level, votes.total)).collect();
            value["members"] = votes.members.iter().map(|(name, member)| member_json(name, member)).collect();
        }
        value
    }
}

fn level_json(level: &LevelFinding, total: u64) -> Value {
    // Past 64 bits a number would not survive; the decimal says it.
    let number = |number: u128| u64::try_from(number).map_or(Value::Null, |number| json!(number));
    let tolerated = level.tolerated(total).map(|(numerator, denominator)| {
        json!({"numerator": number(numerator), "denominator": number(denominator),
               "decimal": decimal((numerator, denominator))})
    });
    json!({"level": level.level, "needed": level.needed, "found": level.found, "tolerated": tolerated,
           "reached": level.is_reached()})
}

fn member_json(name: &str, member: &MemberFinding<String, String>) -> Value {
    let mut value = json!({
        "member": member.member.0, "name": name, "weight": member.weight, "last": member.last,
        "last_slot": member.last_slot.map(|slot| slot.0),
    });
    if let (Some(object), Ok(Value::Object(stand))) = (value.as_object_mut(), serde_json::to_value(&member.stand)) {
        object.extend(stand);
    }
    value
}

impl Votes {
    fn level_table(&self) -> String {
        let rows = self.levels.iter().map(|level| {
            let or_none = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
            let tolerated = level.tolerated(self.total).map_or_else(String::new, |(numerator, denominator)| {
                format!("{numerator}/{denominator} = {}", decimal((numerator, denominator)))
            });
            let state = match (level.is_reached(), level.level == self.target) {
                (true, _) => "reached",
                (false, true) => "nearest",
                (false, false) => "",
            };
            vec![level.level.to_string(), or_none(level.needed), or_none(level.found), tolerated, state.to_owned()]
        });
        table(&["level", "quorum needed", "largest found", "survives faults below", ""], &rows.collect::<Vec<_>>())
    }

    fn member_table(&self) -> String {
        let rows = self.members.iter().map(|(name, member)| {
            let name = shortened(&printable(name), 24);
            vec![name, member.weight.to_string(), stand(&member.stand), since(member)]
        });
        table(&["member", "weight", "stands", "last heard"], &rows.collect::<Vec<_>>())
    }
}

fn stand(stand: &Stand<String, String>) -> String {
    match stand {
        Stand::Supports { level } => format!("for it, level {level}"),
        Stand::Behind { vote: Some(vote) } => format!("has not voted, still for {}", brief(vote)),
        Stand::Behind { vote: None } => "has not voted for long".to_owned(),
        Stand::Elsewhere { vote, branch } if vote == branch => format!("for {} instead", brief(vote)),
        Stand::Elsewhere { vote, branch } => format!("for {} instead, on the branch of {}", brief(vote), brief(branch)),
        Stand::Silent => "never heard".to_owned(),
        Stand::Faulty { first, second } => format!("faulty: {} and {}", brief(first), brief(second)),
    }
}

fn since(member: &MemberFinding<String, String>) -> String {
    match (&member.last, member.last_slot) {
        (Some(_), Some(slot)) => format!("slot {slot}"),
        (Some(last), None) => brief(last),
        (None, _) => "-".to_owned(),
    }
}

/// Ids of blocks and messages are long; their beginning tells them apart.
fn brief(id: &str) -> String {
    let is_hash = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hash { id[..8].to_owned() } else { shortened(&printable(id), 20) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;
    use kakera_cbc::{Member, Slot};

    fn shown() -> Shown {
        let member = |member, stand, last: Option<&str>, last_slot| {
            let finding =
                MemberFinding { member: Member(member), weight: 1, last: last.map(str::to_owned), last_slot, stand };
            (format!("v{member}"), finding)
        };
        let text = |text: &str| text.to_owned();
        let faulty = Stand::Faulty { first: text("m1"), second: text("\u{1b}[2J") };
        let elsewhere = Stand::Elsewhere { vote: "ab".repeat(32), branch: "cd".repeat(32) };
        Shown {
            what: text("block 7"),
            block: text("b"),
            is_final: false,
            reason: text("VOTES"),
            sentence: text("votes are missing"),
            more: vec![("height", json!(7))],
            votes: Some(Votes {
                total: 4,
                threshold: 1,
                support: 3,
                fault_weight: 1,
                levels: vec![
                    LevelFinding { level: 1, needed: Some(4), found: Some(3) },
                    LevelFinding { level: 2, needed: Some(3), found: None },
                ],
                target: 2,
                members: vec![
                    member(0, Stand::Supports { level: 1 }, Some("m9"), Some(Slot(12))),
                    member(1, Stand::Silent, None, None),
                    member(2, elsewhere, Some("m8"), None),
                    member(3, faulty, Some("m7"), None),
                ],
            }),
        }
    }

    #[test]
    fn a_person_reads_levels_and_members() {
        let text = shown().text();
        for part in [
            "block 7: not final\nvotes are missing",
            "weight 4, threshold 1, faulty 1, for it 3",
            "2/2 = 1",
            "for it, level 1",
            "slot 12",
            "never heard",
            "for abababab instead, on the branch of cdcdcdcd",
            "faulty: m1 and \u{fffd}[2J",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }

    #[test]
    fn a_program_reads_the_same() {
        let value = shown().to_json();
        assert_eq!((&value["final"], &value["height"], &value["target"]), (&json!(false), &json!(7), &json!(2)));
        assert_eq!(value["levels"][0]["tolerated"], json!({"numerator": 2, "denominator": 2, "decimal": "1"}));
        assert_eq!(value["levels"][1]["tolerated"], Value::Null);
        assert_eq!(value["members"][0]["stand"], "supports");
        assert_eq!(value["members"][2]["branch"], "cd".repeat(32));
        assert_eq!(value["members"][3]["first"], "m1");
    }
}
