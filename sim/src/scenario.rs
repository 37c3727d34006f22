//! Scenarios: what a world consists of, what befalls it, and what must come of it, as a TOML file says it.

use crate::links::Links;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A scenario. Everything that a seed decides is drawn within what stands here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// What it shows, in a sentence.
    pub about: String,
    /// The network.
    #[serde(default)]
    pub network: NetworkShape,
    /// How links behave.
    #[serde(default)]
    pub links: Links,
    /// How wrong clocks are.
    #[serde(default)]
    pub clocks: Clocks,
    /// What the nodes' work costs.
    #[serde(default)]
    pub cpu: Cpu,
    /// What clients order.
    #[serde(default)]
    pub load: Load,
    /// How long what.
    #[serde(default)]
    pub phases: Phases,
    /// What befalls honest nodes and links.
    #[serde(default)]
    pub faults: Vec<Fault>,
    /// Members that do not keep the rules.
    #[serde(default)]
    pub byzantine: Vec<Byzantine>,
    /// What must come of it.
    #[serde(default)]
    pub expect: Expect,
}

/// The network's shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkShape {
    /// Shard chains.
    pub shards: u16,
    /// Members of each shard's committee, one seat each.
    pub members: u16,
    /// Members of the beacon's committee, one seat each.
    pub beacon: u16,
    /// A shard's slot in ms.
    pub slot_ms: u64,
    /// A beacon slot in ms.
    pub beacon_slot_ms: u64,
    /// The delay in ms that view merge and waiting assume.
    pub delay_ms: u64,
    /// An idle chain makes an empty block after so many slots.
    pub heartbeat_slots: u64,
    /// Ordinary receipts not settled that a lane holds at most.
    pub lane_bound: u64,
    /// Beacon slots until a receipt expires.
    pub lifetime_slots: u64,
    /// Gas of a block.
    pub block_gas: u64,
    /// Shard validators beside those that the first committees need; each runs a node on every shard.
    pub standbys: u16,
    /// Epochs; nothing: the first committees stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<EpochShape>,
}

/// How committees follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EpochShape {
    /// Beacon slots an epoch.
    pub slots: u64,
    /// Beacon slots after which a shard that has not followed is given a new committee.
    pub fallback_slots: u64,
    /// Seats drawn anew each epoch, in thousandths.
    pub rotation_per_mille: u16,
    /// Epochs for which evidence is taken.
    pub unbonding: u64,
    /// What a seat costs; 0: nothing.
    pub seat: u64,
    /// Validators that are bonded while the network runs, and leave once they have served; they need seats that cost
    /// something.
    pub newcomers: u16,
    /// Seats of the beacon's committee, drawn anew each epoch; 0: all beacon validators sit in it.
    pub beacon_seats: u16,
}

impl Default for EpochShape {
    fn default() -> EpochShape {
        EpochShape {
            slots: 12,
            fallback_slots: 6,
            rotation_per_mille: 250,
            unbonding: 4,
            seat: 0,
            newcomers: 0,
            beacon_seats: 0,
        }
    }
}

impl Default for NetworkShape {
    fn default() -> NetworkShape {
        NetworkShape {
            shards: 2,
            members: 4,
            beacon: 4,
            slot_ms: 200,
            beacon_slot_ms: 200,
            delay_ms: 40,
            heartbeat_slots: 10,
            lane_bound: 256,
            lifetime_slots: 10_000,
            block_gas: 4_000_000,
            standbys: 0,
            epochs: None,
        }
    }
}

/// How wrong clocks are: each node's is drawn within these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Clocks {
    /// At most so many ms ahead or behind.
    pub skew_ms: u32,
    /// At most so many microseconds a second fast or slow.
    pub drift_ppm: u32,
    /// One node of each chain is wrong by so many ms instead: a clock that nobody has set.
    pub astray_ms: i64,
}

/// What a node's work costs in virtual time; nothing by default: then only links take time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cpu {
    /// Microseconds for each execution: of a transaction, or of a receipt (so a cross-shard transfer costs two).
    pub execution_us: u64,
    /// Microseconds for each thing heard.
    pub message_us: u64,
    /// Microseconds for each KiB heard: reading, hashing and keeping it.
    pub kib_us: u64,
    /// Microseconds for each crosslink checked by a beacon member.
    pub crosslink_us: u64,
}

/// What clients order. The kind of each order is drawn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Load {
    /// Orders a second and shard.
    pub per_second: u64,
    /// Of a hundred orders, those that go to another shard.
    pub cross_percent: u8,
    /// Of a hundred orders, those that are unusual: batches, to oneself, to a fresh account, of everything, twice.
    pub odd_percent: u8,
    /// Of a hundred orders, those that must be refused: forged, overdrawn, past their nonce.
    pub wrong_percent: u8,
    /// Accounts of each shard.
    pub accounts: u16,
    /// A client that hears nothing submits again after so many ms.
    pub again_ms: u64,
}

impl Default for Load {
    fn default() -> Load {
        Load { per_second: 10, cross_percent: 40, odd_percent: 10, wrong_percent: 5, accounts: 12, again_ms: 2_000 }
    }
}

/// How long what takes, in ms. Faults and load begin with the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Phases {
    /// Nothing befalls the world before this.
    pub calm_ms: u64,
    /// Then faults happen for so long.
    pub faults_ms: u64,
    /// Then all is healed, and load goes on for so long.
    pub healed_ms: u64,
    /// Then nothing new is ordered, and everything ordered must come to its end.
    pub drain_ms: u64,
}

impl Default for Phases {
    fn default() -> Phases {
        Phases { calm_ms: 1_000, faults_ms: 6_000, healed_ms: 3_000, drain_ms: 5_000 }
    }
}

impl Phases {
    /// When faults end, in ms.
    pub fn heal_at(&self) -> u64 {
        self.calm_ms + self.faults_ms
    }

    /// When load ends, in ms.
    pub fn load_until(&self) -> u64 {
        self.heal_at() + self.healed_ms
    }

    /// When the world ends, in ms.
    pub fn end(&self) -> u64 {
        self.load_until() + self.drain_ms
    }
}

/// What befalls honest nodes and links, between [`Phases::calm_ms`] and [`Phases::heal_at`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum Fault {
    /// Processes are killed, at a moment or between two of their effects; what was not synced may be lost.
    Crashes {
        /// How many.
        count: u32,
        /// A killed one starts again after at least this long, in ms.
        least_down_ms: u64,
        /// And at most this.
        most_down_ms: u64,
        /// Members of one chain that are down at once at most; 0: as many as its committee tolerates.
        #[serde(default)]
        at_once: u32,
    },
    /// All processes are killed at once, and start again.
    Blackout {
        /// How often.
        count: u32,
        /// They start again after so long at most, in ms.
        most_down_ms: u64,
    },
    /// Processes freeze, hear nothing meanwhile, and go on.
    Pauses {
        /// How many.
        count: u32,
        /// For so long at most, in ms.
        most_ms: u64,
    },
    /// Links are cut between two groups of nodes.
    Partitions {
        /// How many.
        count: u32,
        /// For so long at most, in ms.
        most_ms: u64,
        /// How nodes fall into groups.
        shape: PartitionShape,
        /// Whether only one direction is cut.
        #[serde(default)]
        one_way: bool,
    },
    /// A row on a node's disk is damaged: it must notice, and begins again with an empty disk.
    Damage {
        /// How many nodes.
        count: u32,
    },
    /// A node's disk is replaced by an older copy of it.
    Restores {
        /// How many nodes.
        count: u32,
    },
    /// All members of one shard's committee, as it is then, are killed at once.
    Committee {
        /// How often.
        count: u32,
        /// They start again after so long, in ms.
        down_ms: u64,
    },
    /// A node's clock jumps.
    ClockSteps {
        /// How many.
        count: u32,
        /// By so many ms at most, ahead or back.
        most_ms: u64,
    },
}

/// How nodes fall into two groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartitionShape {
    /// Each chain's members in two halves.
    Halves,
    /// One node of each chain from all others.
    One,
    /// The beacon from the shards.
    Beacon,
    /// One shard from everything else.
    Shard,
    /// Each link by itself, half of them.
    Links,
}

/// Members that do not keep the rules: one honest replica each, whose effects are twisted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Byzantine {
    /// What they do.
    pub tactic: Tactic,
    /// Where.
    #[serde(default)]
    pub chains: Chains,
    /// How many of each chain.
    #[serde(default)]
    pub share: Share,
}

/// What Byzantine members do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tactic {
    /// Two replicas of one key, each known to one half of the committee.
    EquivocateHalves,
    /// A replica of one key for each other member.
    EquivocateEach,
    /// Votes go to nobody, or to some.
    WithholdVotes,
    /// Blocks go to nobody, to some, or late.
    WithholdBlocks,
    /// Proposed blocks claim a wrong state.
    InvalidState,
    /// One sender's transactions are never taken, passed on or included.
    Censor,
    /// Blocks leave out receipts that are due.
    SkipReceipts,
    /// Blocks consume receipts in another order.
    ReorderReceipts,
    /// Certificates with too few, wrong or foreign signatures; shares of headers that were never finalized.
    ForgeCertificates,
    /// Money out of nothing, sent to other shards; meant for a whole committee.
    Mint,
    /// Answers to questions carry changed blocks and messages.
    CorruptAnswers,
    /// Old things are said again, to anybody.
    Replay,
    /// Nothing at all.
    Silent,
}

/// Which chains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Chains {
    /// Every one.
    #[default]
    All,
    /// The beacon.
    Beacon,
    /// All shards.
    Shards,
    /// The first shard.
    FirstShard,
}

/// How many members of a committee.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Share {
    /// One.
    #[default]
    One,
    /// As many as the committee tolerates: less than a third.
    Tolerable,
    /// One more than that.
    TooMany,
    /// All.
    Whole,
}

/// What must come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// Blocks certified on each chain, at least.
    pub blocks: u64,
    /// Of a hundred orders that should succeed, those that were executed and, where they cross, delivered or returned.
    pub settled_percent: u8,
    /// Slots of a chain within which it certifies a block proposed after all was healed.
    pub recovery_slots: u64,
    /// Whether liveness may be lost: too many members are faulty.
    pub may_stall: bool,
    /// Whether safety may be lost, if evidence shows who did it.
    pub may_break_with_evidence: bool,
    /// Receipts that must be seen to expire and return, at least.
    pub returns: u64,
    /// Epochs that every chain must reach, at least.
    pub epochs: u64,
    /// While there is load: slots from an era's root to the first block above it at most; 0: any number.
    pub era_gap_slots: u64,
    /// Epochs by which a shard's newest certified block is behind the beacon at most; 0: any number.
    pub silent_epochs: u64,
    /// Committees that must be seen to be replaced because they did not follow, at least.
    pub fallbacks: u64,
    /// And at most.
    pub most_fallbacks: u64,
    /// Validators that must be seen to lose their stake, at least.
    pub slashed: u64,
    /// Epochs within which whoever is reported loses it; 0: any number.
    pub slashing_epochs: u64,
    /// Newcomers that must be seen to be paid out, at least.
    pub withdrawals: u64,
}

impl Default for Expect {
    fn default() -> Expect {
        Expect {
            blocks: 10,
            settled_percent: 100,
            recovery_slots: 10,
            may_stall: false,
            may_break_with_evidence: false,
            returns: 0,
            epochs: 0,
            era_gap_slots: 0,
            silent_epochs: 0,
            fallbacks: 0,
            most_fallbacks: u64::MAX >> 1,
            slashed: 0,
            slashing_epochs: 0,
            withdrawals: 0,
        }
    }
}

/// Why a scenario is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidScenario {
    /// Not TOML of this shape.
    #[error("the scenario does not parse: {0}")]
    Toml(String),
    /// A number out of its range.
    #[error("{field} is {found}, but must be {allowed}")]
    Range {
        /// Which.
        field: &'static str,
        /// Its value.
        found: u64,
        /// The range in words.
        allowed: &'static str,
    },
}

impl Scenario {
    /// Reads and checks a scenario.
    ///
    /// # Errors
    /// The parser's words, or the number at fault.
    pub fn parse(text: &str) -> Result<Scenario, InvalidScenario> {
        let scenario: Scenario = toml::from_str(text).map_err(|error| InvalidScenario::Toml(error.to_string()))?;
        scenario.check()?;
        Ok(scenario)
    }

    fn check(&self) -> Result<(), InvalidScenario> {
        let shape = &self.network;
        let ranges = [
            ("network.shards", u64::from(shape.shards), 1..=256, "1 to 256"),
            ("network.members", u64::from(shape.members), 1..=1_024, "1 to 1024"),
            ("network.beacon", u64::from(shape.beacon), 1..=1_024, "1 to 1024"),
            ("network.slot_ms", shape.slot_ms, 20..=60_000, "20 to 60000"),
            ("network.standbys", u64::from(shape.standbys), 0..=1_024, "0 to 1024"),
            ("network.delay_ms", shape.delay_ms, 1..=shape.slot_ms / 2, "1 to half of slot_ms"),
            ("load.per_second", self.load.per_second, 0..=100_000, "0 to 100000"),
            ("load.accounts", u64::from(self.load.accounts), 2..=10_000, "2 to 10000"),
            ("load.cross_percent", u64::from(self.load.cross_percent), 0..=100, "0 to 100"),
            ("load.odd_percent", u64::from(self.load.odd_percent), 0..=100, "0 to 100"),
            ("load.wrong_percent", u64::from(self.load.wrong_percent), 0..=100, "0 to 100"),
            ("load.again_ms", self.load.again_ms, 100..=600_000, "100 to 600000"),
            ("clocks.drift_ppm", u64::from(self.clocks.drift_ppm), 0..=100_000, "0 to 100000"),
            ("the world's end", self.phases.end(), 1..=86_400_000, "1 ms to a day"),
            ("links.loss_ppm", u64::from(self.links.loss_ppm), 0..=900_000, "0 to 900000"),
            ("expect.settled_percent", u64::from(self.expect.settled_percent), 0..=100, "0 to 100"),
        ];
        let epochs = shape.epochs.unwrap_or_default();
        let of_epochs = [
            ("network.epochs.slots", epochs.slots, shape.heartbeat_slots.max(4)..=1 << 20, "a heartbeat to 2^20"),
            ("network.epochs.fallback_slots", epochs.fallback_slots, 1..=epochs.slots / 2, "1 to half of an epoch"),
            ("network.epochs.rotation_per_mille", u64::from(epochs.rotation_per_mille), 0..=1_000, "0 to 1000"),
            ("network.epochs.unbonding", epochs.unbonding, 2..=1_000, "2 to 1000"),
            ("network.epochs.seat", epochs.seat, 0..=1 << 40, "0 to 2^40"),
            ("network.epochs.newcomers", u64::from(epochs.newcomers), 0..=epochs.seat.min(64), "0 to 64"),
            ("network.epochs.beacon_seats", u64::from(epochs.beacon_seats), 0..=1_024, "0 to 1024"),
        ];
        let of_epochs = of_epochs.into_iter().filter(|_| shape.epochs.is_some());
        for (field, found, range, allowed) in ranges.into_iter().chain(of_epochs) {
            if !range.contains(&found) {
                return Err(InvalidScenario::Range { field, found, allowed });
            }
        }
        Ok(())
    }
}
