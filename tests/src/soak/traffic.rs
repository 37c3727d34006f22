//! Constant transfers within and across shards, by senders who lose track of none.

use crate::{
    net::Net,
    orders::{CROSS_FEE, FEE, Signed, Wallet},
    random::Random,
    wait::{check, until},
};
use kakera_chain::{
    hash::Hash,
    units::{ChainId, ShardId},
};
use kakera_proto::v1::Stage;
use std::{
    fmt,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};
use tonic_types::StatusExt;

/// Refusals that say nothing against the order itself.
const NOT_NOW: [&str; 6] = ["UNREACHABLE", "STOPPED", "BUSY", "NONCE_TOO_FAR", "SENDER_FULL", "POOL_FULL"];
/// Of ten transfers, how many cross.
const CROSSING: u64 = 4;
/// How long a node has for one answer under faults.
const ANSWER: Duration = Duration::from_millis(700);
/// Each sender's tokens.
const FUNDS: u64 = 100_000_000_000;
/// Between two orders of one group.
const PACE: Duration = Duration::from_millis(150);
/// Senders of one group.
const SENDERS: usize = 3;

/// All senders, by shard.
pub(super) struct Traffic {
    groups: Vec<Group>,
}

/// The senders of one shard, who pay in turn.
pub(super) struct Group {
    shard: ShardId,
    senders: Vec<Mutex<Sender>>,
    taken: AtomicU64,
    refused: AtomicU64,
}

struct Sender {
    from: Wallet,
    /// Paid only by this sender: in this shard, and in the next.
    near: Wallet,
    far: Wallet,
    orders: Vec<Order>,
}

struct Order {
    signed: Signed,
    amount: u64,
    crosses: bool,
}

/// What became of all transfers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fates {
    recorded: u64,
    delivered: u64,
    returned: u64,
}

impl Traffic {
    /// Makes and funds the senders.
    pub(super) fn start(net: &Net) -> Traffic {
        let shards: Vec<ShardId> = (0..net.shards()).map(ShardId).collect();
        let groups = shards.iter().zip(shards.iter().cycle().skip(1)).map(|(here, there)| {
            let wallet = |role: &str, index: usize, shard| net.wallet(&format!("soak-{role}-{here}-{index}"), shard);
            let sender = |index| Sender {
                from: wallet("from", index, *here),
                near: wallet("near", index, *here),
                far: wallet("far", index, *there),
                orders: Vec::new(),
            };
            let senders: Vec<Sender> = (0..SENDERS).map(sender).collect();
            net.fund(&senders.iter().map(|sender| &sender.from).collect::<Vec<_>>(), FUNDS);
            let senders = senders.into_iter().map(Mutex::new).collect();
            Group { shard: *here, senders, taken: AtomicU64::new(0), refused: AtomicU64::new(0) }
        });
        Traffic { groups: groups.collect() }
    }

    pub(super) fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter()
    }

    /// The ids of a shard's orders.
    pub(super) fn ids(&self, shard: ShardId) -> impl Iterator<Item = Hash> {
        let group = self.groups.iter().find(|group| group.shard == shard).expect("every shard has senders");
        let ids = |sender: &Mutex<Sender>| lock(sender).orders.iter().map(|order| order.signed.id).collect::<Vec<_>>();
        group.senders.iter().flat_map(ids).collect::<Vec<_>>().into_iter()
    }

    /// Offers until everything is applied, follows every crossing transfer to its one end, and compares all accounts.
    pub(super) fn finish(&self, net: &Net) -> Fates {
        let mut fates = Fates::default();
        for group in &self.groups {
            let node = net.members(ChainId::Shard(group.shard)).remove(1);
            for sender in &group.senders {
                lock(sender).finish(net, &node, &mut fates);
            }
        }
        fates
    }

    fn count(&self, counter: impl Fn(&Group) -> &AtomicU64) -> u64 {
        self.groups.iter().map(|group| counter(group).load(Ordering::Relaxed)).sum()
    }

    /// Transfers made so far, and how many of them cross.
    pub(super) fn made(&self) -> (u64, u64) {
        let senders = self.groups.iter().flat_map(|group| &group.senders);
        senders.fold((0, 0), |(made, crossing), sender| {
            let sender = lock(sender);
            let crosses = sender.orders.iter().filter(|order| order.crosses).count();
            (made + sender.orders.len() as u64, crossing + crosses as u64)
        })
    }
}

impl fmt::Display for Traffic {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (made, crossing) = self.made();
        let (taken, missed) = (self.count(|group| &group.taken), self.count(|group| &group.refused));
        write!(out, "{made} transfers ({crossing} cross; offered {taken} times with, {missed} without an answer)")
    }
}

impl fmt::Display for Fates {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fates { recorded, delivered, returned } = self;
        write!(out, "every transfer ended once: {recorded} within a shard, {delivered} delivered, {returned} returned")
    }
}

impl Group {
    /// Different for every shard.
    pub(super) fn label(&self) -> u64 {
        u64::from(self.shard.0).wrapping_add(1).wrapping_mul(0x9e37_79b9)
    }

    /// Pays at its pace until told to stop: new orders to random members, dead or alive; those that got lost again.
    pub(super) fn pay(&self, net: &Net, stop: &AtomicBool, mut random: Random) {
        let members = net.members(ChainId::Shard(self.shard));
        for turn in 0_u64.. {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let node = random.pick(&members);
            let place = usize::try_from(turn).unwrap_or_default();
            let mut sender = lock(&self.senders[place % self.senders.len()]);
            let offered = if turn % 8 == 7 {
                sender.repair(net, node)
            } else {
                let crosses = random.below(10) < CROSSING;
                sender.push(net, node, 1 + random.below(1_000), crosses)
            };
            let counter = if offered { &self.taken } else { &self.refused };
            counter.fetch_add(1, Ordering::Relaxed);
            drop(sender);
            thread::sleep(PACE);
        }
    }
}

impl Sender {
    fn push(&mut self, net: &Net, node: &str, amount: u64, crosses: bool) -> bool {
        let to = if crosses { &self.far } else { &self.near };
        let signed = self.from.transfer(net, self.orders.len() as u64, to.address, amount);
        self.orders.push(Order { signed, amount, crosses });
        offer(net, node, &self.orders[self.orders.len() - 1])
    }

    /// Offers the first orders that are not applied yet again: one that died with its node holds up all after it.
    fn repair(&self, net: &Net, node: &str) -> bool {
        let Ok(account) = net.account_within(ANSWER, node, &self.from.address) else { return false };
        let applied = usize::try_from(account.nonce).unwrap_or(usize::MAX);
        self.orders.iter().skip(applied).take(32).all(|order| offer(net, node, order))
    }

    fn finish(&self, net: &Net, node: &str, fates: &mut Fates) {
        let made = self.orders.len() as u64;
        until("all orders to be applied", || {
            self.repair(net, node);
            let nonce = net.account(node, &self.from.address).map_err(|status| status.to_string())?.nonce;
            check(nonce >= made, || format!("{nonce} of {made}"))
        });
        let (mut spent, mut near, mut far) = (0, 0, 0);
        for order in &self.orders {
            if !order.crosses {
                (spent, near, fates.recorded) = (spent + order.amount + FEE, near + order.amount, fates.recorded + 1);
                continue;
            }
            let steps = net.follow(node, order.signed.id, self.from.shard, 0);
            let steps = steps.unwrap_or_else(|status| panic!("{} has no end: {status}", order.signed.id));
            let last = steps.last().expect("a life has an end");
            assert!(last.terminal, "{steps:?}");
            match last.stage() {
                Stage::Delivered => {
                    (spent, far) = (spent + order.amount + CROSS_FEE, far + order.amount);
                    fates.delivered += 1;
                }
                Stage::Returned => {
                    spent += CROSS_FEE;
                    fates.returned += 1;
                }
                other => panic!("a crossing transfer ended as {other:?}: {steps:?}"),
            }
        }
        self.compare(net, node, [(&self.from, FUNDS - spent), (&self.near, near), (&self.far, far)]);
    }

    /// An account's balance is the sum of what its transfers did, each once.
    fn compare(&self, net: &Net, node: &str, expected: [(&Wallet, u64); 3]) {
        for (wallet, balance) in expected {
            until("an account to hold what its transfers left there", || {
                let account = net.account(node, &wallet.address).map_err(|status| status.to_string())?;
                check(account.balance == balance, || format!("{}, not {balance}", account.balance))
            });
        }
    }
}

fn offer(net: &Net, node: &str, order: &Order) -> bool {
    match net.submit_within(ANSWER, node, &order.signed.bytes) {
        Ok(answer) => {
            assert_eq!(answer.transaction_id, order.signed.id.0, "{node} computes another id");
            true
        }
        Err(status) => match status.get_details_error_info().map(|info| info.reason) {
            // Applied already: what an answer that was lost led to.
            Some(reason) if reason == "NONCE_USED" => true,
            Some(reason) if !NOT_NOW.contains(&reason.as_str()) => panic!("{node} refuses a sound order: {status}"),
            _ => false,
        },
    }
}

fn lock(sender: &Mutex<Sender>) -> MutexGuard<'_, Sender> {
    sender.lock().unwrap_or_else(PoisonError::into_inner)
}
