//! A network whose committees change, under load and watched, for suites that do something to it.

#![allow(clippy::unwrap_used, reason = "for suites")]
use crate::{
    epochs::{Change, Seen},
    load::Sender,
    net::Net,
    orders::{CROSS_FEE, Signed, Wallet},
    wait::{check, until},
};
use kakera_chain::units::ShardId;
use kakera_deploy::Profile;
use std::{
    collections::BTreeSet,
    thread,
    time::{Duration, Instant},
};

/// Between two rounds of load and looks.
const ROUND: Duration = Duration::from_millis(150);

/// Transfers to the next shard, each counted.
#[derive(Debug)]
pub struct Crossing {
    from: Wallet,
    to: Wallet,
    orders: Vec<Signed>,
}

impl Crossing {
    fn new(net: &Net, shard: ShardId, orders: u64) -> Crossing {
        let next = ShardId((shard.0 + 1) % net.shards());
        let (from, to) = (net.wallet("crossing", shard), net.wallet("crossed", next));
        net.fund(&[&from], orders * (CROSS_FEE + 3));
        Crossing { from, to, orders: Vec::new() }
    }

    fn push(&mut self, net: &Net, node: &str) {
        let order = self.from.transfer(net, self.orders.len() as u64, self.to.address, 3);
        // Taken or not: what is not applied is offered again.
        drop(net.submit(node, &order.bytes));
        self.orders.push(order);
    }

    fn repair(&self, net: &Net, node: &str) -> u64 {
        let Ok(account) = net.account(node, &self.from.address) else { return 0 };
        for order in self.orders.iter().skip(usize::try_from(account.nonce).unwrap()).take(32) {
            drop(net.submit(node, &order.bytes));
        }
        account.nonce
    }

    fn finish(&self, net: &Net, node: &str) {
        let made = self.orders.len() as u64;
        until("all crossings to be applied", || {
            let nonce = self.repair(net, node);
            check(nonce == made, || format!("{nonce} of {made}"))
        });
        until("all crossings to arrive", || {
            let account = net.account(node, &self.to.address).map_err(|status| status.to_string())?;
            assert!(account.balance <= 3 * made, "a receipt was credited twice");
            check(account.balance == 3 * made, || format!("{} of {}", account.balance, 3 * made))
        });
    }
}

/// The network, its load and what was seen of it.
pub struct Stage {
    /// The network.
    pub net: Net,
    /// Orders within each shard.
    pub senders: Vec<Sender>,
    /// Orders from each shard to the next.
    pub crossings: Vec<Crossing>,
    /// What was seen.
    pub seen: Seen,
    /// The processes that run.
    pub alive: BTreeSet<String>,
    slots: u64,
    round: usize,
}

impl Stage {
    /// Starts a network that has epochs.
    pub fn new(profile: &Profile) -> Stage {
        let slots = profile.epochs.unwrap().slots;
        let net = Net::start(profile);
        let shards = net.all_shards();
        let senders = shards.iter().flat_map(|shard| Sender::crowd(&net, "rotation", *shard, 1, 100_000)).collect();
        let crossings = shards.iter().map(|shard| Crossing::new(&net, *shard, 100_000)).collect();
        let alive = net.all().into_iter().collect();
        Stage { net, senders, crossings, seen: Seen::default(), alive, slots, round: 0 }
    }

    /// Any node that lives, another each time.
    pub fn node(&self) -> String {
        self.alive.iter().nth(self.round * 7 % self.alive.len()).unwrap().clone()
    }

    /// One round of load and one look; the epoch and the slot in it.
    pub fn round(&mut self) -> Option<(u64, u64)> {
        self.round += 1;
        let (node, began) = (self.node(), Instant::now());
        for sender in &mut self.senders {
            sender.push(&self.net, &node);
        }
        for crossing in &mut self.crossings {
            crossing.push(&self.net, &node);
        }
        if self.round.is_multiple_of(16) {
            self.senders.iter().for_each(|sender| sender.repair(&self.net, &node));
            for crossing in &self.crossings {
                crossing.repair(&self.net, &node);
            }
        }
        let state = self.seen.look(&self.net, &node);
        thread::sleep(ROUND.saturating_sub(began.elapsed()));
        state.map(|state| (state.epoch, state.slot_in_epoch))
    }

    /// Goes on until the epoch is `epoch` by a node's word; near the end of each it looks at who is named.
    pub fn run_until(&mut self, epoch: u64) {
        let mut looked = None;
        loop {
            let Some((now, slot)) = self.round() else { continue };
            if now >= epoch {
                return;
            }
            if slot + 6 >= self.slots && looked != Some(now) {
                looked = Some(now);
                let state = self.net.epoch(&self.node()).unwrap();
                if state.epoch == now {
                    self.seen.look_at_the_named(&self.net, &state, &self.alive);
                }
            }
        }
    }

    /// Lets all that was ordered come to its end; the changes of era, and the longest pause within one.
    pub fn finish(&mut self) -> (Vec<Change>, u64) {
        let node = self.node();
        self.senders.iter().for_each(|sender| sender.finish(&self.net, &node));
        self.crossings.iter().for_each(|crossing| crossing.finish(&self.net, &node));
        self.seen.look(&self.net, &node);
        let state = self.net.epoch(&node).unwrap();
        self.seen.take_down(&self.net, &state, &self.alive);
        self.seen.changes()
    }
}
