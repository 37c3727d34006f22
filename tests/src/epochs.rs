//! A network whose committees change, watched from outside: what every node says of epochs, committees and what is
//! recorded, taken down while it runs and held against each other.

use crate::{
    net::Net,
    wait::{check, until},
};
use kakera_chain::{
    block::Header,
    codec,
    genesis::Epochs,
    units::{ChainId, ShardId},
};
use kakera_deploy::Profile;
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
    /// By shard and height: the epoch of a certified block's era, and its slot.
    pub blocks: BTreeMap<(ShardId, u64), (u64, u64)>,
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
            let number = ShardId(u16::try_from(shard.shard).expect("a shard"));
            let chain = ChainId::Shard(number);
            let members: Vec<&String> =
                shard.committee.iter().map(|holder| &holder.name).filter(|name| alive.contains(*name)).collect();
            let next = self.blocks.range(..(ShardId(number.0 + 1), 0)).next_back();
            let next = next.filter(|((shard, _), _)| *shard == number).map_or(1, |((_, height), _)| height + 1);
            let recorded =
                self.recorded.range(..(shard.shard + 1, 0)).next_back().map_or(0, |((_, height), _)| *height);
            for height in next..=recorded {
                let order = members.iter().copied().chain(alive);
                let found = order.into_iter().find_map(|node| net.block_of(node, chain, height).ok());
                let Some(block) = found else {
                    // Whoever had it may be dead.
                    assert!(shard.fallbacks > 0, "nobody holds block {height} of shard {number}");
                    continue;
                };
                if let Some(id) = self.recorded.get(&(shard.shard, height)) {
                    assert_eq!(block.id, *id, "block {height} of shard {number} was recorded and is another now");
                }
                let header: Header = codec::decode(&block.header, Header::MAX_BYTES).expect("a header");
                self.blocks.insert((number, height), (header.epoch.0, header.slot.0));
            }
        }
    }

    /// The changes of era in the blocks taken down, and the greatest number of slots between two blocks of one era.
    pub fn changes(&self) -> (Vec<Change>, u64) {
        let (mut changes, mut most) = (Vec::new(), 0);
        let all: Vec<_> = self.blocks.iter().collect();
        for pair in all.windows(2) {
            let [((shard, _), (epoch, slot)), ((other, _), (next_epoch, next_slot))] = pair else { continue };
            if shard != other {
                continue;
            }
            let gap = next_slot - slot;
            if epoch == next_epoch {
                most = most.max(gap);
            } else {
                changes.push(Change { shard: *shard, epoch: *next_epoch, gap });
            }
        }
        (changes, most)
    }
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
    for shard in &state.shards {
        let wanted: Vec<(String, u64)> =
            shard.committee.iter().map(|holder| (holder.name.clone(), u64::from(holder.seats))).collect();
        let chain = ChainId::Shard(ShardId(u16::try_from(shard.shard).expect("a shard")));
        for holder in shard.committee.iter().filter(|holder| alive.contains(&holder.name)) {
            until(&format!("{} to take its seat in shard {}", holder.name, shard.shard), || {
                let status = net.status_of(&holder.name, chain).map_err(|status| status.to_string())?;
                if status.epoch > shard.era {
                    return Ok::<(), String>(());
                }
                let found: Vec<(String, u64)> =
                    status.members.iter().map(|member| (member.validator.clone(), member.weight)).collect();
                check(status.epoch == shard.era && status.phase == "active", || {
                    format!("era {}, {}", status.epoch, status.phase)
                })?;
                assert_eq!(found, wanted, "{} has another committee than was drawn", holder.name);
                Ok(())
            });
        }
    }
    state
}

/// A change of era as the chain shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The shard.
    pub shard: ShardId,
    /// The era that began.
    pub epoch: u64,
    /// Slots from the last block of the era before to the first of this one.
    pub gap: u64,
}
