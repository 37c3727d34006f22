//! A network whose committees change, watched from outside: what every node says of epochs, committees and what is
//! recorded, taken down while it runs and held against each other.

use crate::{
    net::Net,
    wait::{check, until},
};
use kakera_chain::{
    block::Header,
    codec,
    genesis::{Epochs, Role},
    units::{ChainId, ShardId},
};
use kakera_deploy::{Profile, profiles::ValidatorGroup};
use kakera_proto::v1::{
    self, EpochState, GetBlockRequest, GetEpochRequest, GetStatusRequest, chains_client::ChainsClient,
    get_block_request::Which, validators_client::ValidatorsClient,
};
use std::collections::{BTreeMap, BTreeSet};
use tonic::Status;

/// 4 beacon validators, 12 seats in 3 shards and 5 who stand by; epochs of `slots` slots of 200 ms.
pub fn rotation(slots: u64, fallback_slots: u64) -> Profile {
    let profile = Profile::load("rotation").expect("a built-in profile");
    let epochs = profile.epochs.map(|epochs| Epochs { slots, fallback_slots, ..epochs });
    Profile { epochs, ..profile }
}

/// The same with seven beacon validators, four of which are drawn into the beacon's committee; two shards of four seats, and
/// two who stand by.
pub fn sampled(slots: u64, fallback_slots: u64) -> Profile {
    let profile = rotation(slots, fallback_slots);
    let epochs = profile.epochs.map(|epochs| Epochs { beacon_seats: Some(4), ..epochs });
    let group = |role, count| ValidatorGroup { role, count, seats: 1 };
    Profile { shards: 2, epochs, validators: vec![group(Role::Beacon, 7), group(Role::Shard, 10)], ..profile }
}

/// A chain's name on the wire.
pub fn name(chain: ChainId) -> v1::ChainName {
    match chain {
        ChainId::Beacon => v1::ChainName { beacon: true, shard: 0 },
        ChainId::Shard(shard) => v1::ChainName { beacon: false, shard: shard.0.into() },
    }
}

impl Net {
    /// What a node says of the epoch.
    ///
    /// # Errors
    /// The node's status.
    pub fn epoch(&self, node: &str) -> Result<EpochState, Status> {
        self.ask(node, |channel| async { ValidatorsClient::new(channel).get_epoch(GetEpochRequest::default()).await })
    }

    /// What a node says of one of the chains that it hosts.
    ///
    /// # Errors
    /// The node's status.
    pub fn status_of(&self, node: &str, chain: ChainId) -> Result<v1::NodeStatus, Status> {
        let request = GetStatusRequest { chain: Some(name(chain)) };
        self.ask(node, |channel| async { ChainsClient::new(channel).get_status(request).await })
    }

    /// A certified block of a chain that a node hosts.
    ///
    /// # Errors
    /// The node's status.
    pub fn block_of(&self, node: &str, chain: ChainId, height: u64) -> Result<v1::BlockInfo, Status> {
        let request = GetBlockRequest { which: Some(Which::Height(height)), chain: Some(name(chain)) };
        self.ask(node, |channel| async { ChainsClient::new(channel).get_block(request).await })
    }

    /// The shards of this network.
    pub fn all_shards(&self) -> Vec<ShardId> {
        (0..self.shards()).map(ShardId).collect()
    }
}

/// Everything that was seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// By shard and height: the id that some certified beacon state recorded.
    pub recorded: BTreeMap<(u32, u64), Vec<u8>>,
    /// Looks at which the value in the network was the genesis supply and what was minted.
    pub conserved: u64,
    /// By epoch: the first state seen of it.
    pub epochs: BTreeMap<u64, EpochState>,
    /// Named validators that had no running replica of their next shard when the epoch ended.
    pub late: Vec<String>,
    /// Of how many named validators it was looked at.
    pub looked_at: usize,
    /// By chain and height: the epoch of a certified block's era, and its slot.
    pub blocks: BTreeMap<(ChainId, u64), (u64, u64)>,
}

impl Seen {
    /// Looks at one node's beacon state.
    pub fn look(&mut self, net: &Net, node: &str) -> Option<EpochState> {
        let state = net.beacon_state(node).ok()?;
        let minted = state.minted;
        assert_eq!(state.conserved_total, state.genesis_supply, "value came or went (minted: {minted})");
        self.conserved += 1;
        for shard in &state.shards {
            let seen = self.recorded.entry((shard.shard, shard.height)).or_insert_with(|| shard.block_id.clone());
            assert_eq!(
                *seen, shard.block_id,
                "two blocks recorded at height {} of shard {}",
                shard.height, shard.shard
            );
        }
        let epoch = net.epoch(node).ok()?;
        self.epochs.entry(epoch.epoch).or_insert_with(|| epoch.clone());
        Some(epoch)
    }

    /// Who is named for the next epoch must host its shard now.
    pub fn look_at_the_named(&mut self, net: &Net, state: &EpochState, alive: &BTreeSet<String>) {
        for shard in &state.shards {
            for holder in shard.next.iter().filter(|holder| alive.contains(&holder.name)) {
                let Ok(status) = net.status(&holder.name) else { continue };
                let here = |hosted: &&v1::HostedChain| {
                    hosted.chain.is_some_and(|chain| !chain.beacon && chain.shard == shard.shard)
                };
                let phase = status.hosted.iter().find(here).map(|hosted| hosted.phase.clone());
                self.looked_at += 1;
                if phase.as_deref().is_none_or(|phase| phase == "fetching") {
                    self.late
                        .push(format!("{} for shard {} in epoch {}: {phase:?}", holder.name, shard.shard, state.epoch));
                }
            }
        }
    }
}

impl Seen {
    /// Takes down the blocks certified since the last time, and holds them against what was recorded: whoever is given a
    /// shard's state has its blocks from there on only, and those who had the older ones leave in time.
    ///
    /// # Panics
    /// If a recorded block is another now, or nobody holds a block that is next.
    pub fn take_down(&mut self, net: &Net, state: &EpochState, alive: &BTreeSet<String>) {
        for shard in &state.shards {
            let chain = ChainId::Shard(ShardId(u16::try_from(shard.shard).expect("a shard")));
            let recorded =
                self.recorded.range(..(shard.shard + 1, 0)).next_back().map_or(0, |((_, height), _)| *height);
            for height in self.next_of(chain)..=recorded {
                let Some(block) = found(net, chain, height, &shard.committee, alive) else {
                    // Whoever had it may be dead.
                    assert!(shard.fallbacks > 0, "nobody holds block {height} of {chain}");
                    continue;
                };
                if let Some(id) = self.recorded.get(&(shard.shard, height)) {
                    assert_eq!(block.id, *id, "block {height} of {chain} was recorded and is another now");
                }
                self.take(chain, height, &block);
            }
        }
        for height in self.next_of(ChainId::Beacon)..=state.height {
            let block = found(net, ChainId::Beacon, height, &state.beacon, alive);
            let block = block.unwrap_or_else(|| panic!("nobody holds beacon block {height}"));
            self.take(ChainId::Beacon, height, &block);
        }
    }

    /// The height above the highest block taken down.
    fn next_of(&self, chain: ChainId) -> u64 {
        let newest = self.blocks.range((chain, 0)..=(chain, u64::MAX)).next_back();
        newest.map_or(1, |((_, height), _)| height + 1)
    }

    fn take(&mut self, chain: ChainId, height: u64, block: &v1::BlockInfo) {
        let header: Header = codec::decode(&block.header, Header::MAX_BYTES).expect("a header");
        self.blocks.insert((chain, height), (header.epoch.0, header.slot.0));
    }

    /// The changes of era in the blocks taken down, and the greatest number of slots between two blocks of one era.
    pub fn changes(&self) -> (Vec<Change>, u64) {
        let (mut changes, mut most) = (Vec::new(), 0);
        let all: Vec<_> = self.blocks.iter().collect();
        for pair in all.windows(2) {
            let [((chain, _), (epoch, slot)), ((other, _), (next_epoch, next_slot))] = pair else { continue };
            if chain != other {
                continue;
            }
            let gap = next_slot - slot;
            if epoch == next_epoch {
                most = most.max(gap);
            } else {
                changes.push(Change { chain: *chain, epoch: *next_epoch, gap });
            }
        }
        (changes, most)
    }
}

/// A certified block, from a member of the committee if one has it.
fn found(
    net: &Net,
    chain: ChainId,
    height: u64,
    committee: &[v1::SeatHolder],
    alive: &BTreeSet<String>,
) -> Option<v1::BlockInfo> {
    let members = committee.iter().map(|holder| &holder.name).filter(|name| alive.contains(*name));
    members.chain(alive).find_map(|node| net.block_of(node, chain, height).ok())
}

/// Waits until every node is in epoch `epoch`, and checks that all name the same committees, and that every member's
/// replica has exactly that committee. Returns the state.
pub fn agree(net: &Net, alive: &BTreeSet<String>, epoch: u64) -> EpochState {
    let mut first: Option<EpochState> = None;
    for node in alive {
        let state = until(&format!("{node} to be in epoch {epoch}"), || {
            let state = net.epoch(node).map_err(|status| status.to_string())?;
            let eras = state.shards.iter().all(|shard| shard.era >= epoch.min(state.epoch));
            check(state.epoch >= epoch && eras, || {
                format!(
                    "epoch {}, eras {:?}",
                    state.epoch,
                    state.shards.iter().map(|shard| shard.era).collect::<Vec<_>>()
                )
            })
            .map(|()| state)
        });
        match &first {
            Some(first) if first.epoch == state.epoch => {
                assert_eq!(first.beacon, state.beacon, "{node} has another beacon committee");
                assert_eq!(first.beacon_next, state.beacon_next, "{node} has another next beacon committee");
                for (one, other) in first.shards.iter().zip(&state.shards) {
                    let drawn = |shard: &v1::ShardEpoch| {
                        (shard.era, shard.committee.clone(), shard.drawn.clone(), shard.next.clone())
                    };
                    assert_eq!(drawn(one), drawn(other), "{node} has other committees of shard {}", one.shard);
                }
            }
            Some(_) => {}
            None => first = Some(state),
        }
    }
    let state = first.expect("somebody is alive");
    seated(net, alive, ChainId::Beacon, state.epoch, &state.beacon);
    for shard in &state.shards {
        let chain = ChainId::Shard(ShardId(u16::try_from(shard.shard).expect("a shard")));
        seated(net, alive, chain, shard.era, &shard.committee);
    }
    state
}

/// Waits until every living member of a committee takes part in the era, in exactly this committee; or the era is over.
fn seated(net: &Net, alive: &BTreeSet<String>, chain: ChainId, era: u64, committee: &[v1::SeatHolder]) {
    let wanted: Vec<(String, u64)> =
        committee.iter().map(|holder| (holder.name.clone(), u64::from(holder.seats))).collect();
    for holder in committee.iter().filter(|holder| alive.contains(&holder.name)) {
        until(&format!("{} to take its seat in {chain}", holder.name), || {
            let status = net.status_of(&holder.name, chain).map_err(|status| status.to_string())?;
            if status.epoch > era {
                return Ok::<(), String>(());
            }
            let found: Vec<(String, u64)> =
                status.members.iter().map(|member| (member.validator.clone(), member.weight)).collect();
            check(status.epoch == era && status.phase == "active", || {
                format!("era {}, {}", status.epoch, status.phase)
            })?;
            assert_eq!(found, wanted, "{} has another committee than was drawn", holder.name);
            Ok(())
        });
    }
}

/// A change of era as the chain shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The chain.
    pub chain: ChainId,
    /// The era that began.
    pub epoch: u64,
    /// Slots from the last block of the era before to the first of this one.
    pub gap: u64,
}

/// Slots that a change of era may take while all are alive.
const PAUSE: u64 = 3;

/// Checks that no change of era made its chain stand still: half of them take at most 3 slots, and none takes longer than
/// that unless it is a fallback, or this machine made a chain wait as long in the middle of an era, too (`within`, slots).
///
/// # Panics
/// If one did.
pub fn assert_unpaused(changes: &[Change], within: u64, fallbacks: u64) {
    let mut gaps: Vec<u64> = changes.iter().map(|change| change.gap).collect();
    gaps.sort_unstable();
    let late = gaps.iter().filter(|gap| **gap > within.max(PAUSE)).count() as u64;
    let median = gaps[gaps.len() / 2];
    assert!(median <= PAUSE && late <= fallbacks, "{fallbacks} fallbacks, within eras at most {within}: {changes:?}");
}
