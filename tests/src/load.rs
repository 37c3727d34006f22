//! A sender that never loses track of its orders: each is built once, offered until it is applied, and counted.

use crate::{
    net::Net,
    orders::{FEE, Signed, Wallet},
    wait::{check, until},
};
use kakera_chain::{hash::Hash, units::ShardId};
use tonic_types::StatusExt;

/// Refusals that say nothing against the order itself.
const NOT_NOW: [&str; 6] = ["UNREACHABLE", "STOPPED", "BUSY", "NONCE_TOO_FAR", "SENDER_FULL", "POOL_FULL"];

/// Orders of one account to one other of the same shard.
#[derive(Debug)]
pub struct Sender {
    from: Wallet,
    to: Wallet,
    amount: u64,
    funded: u64,
    orders: Vec<Signed>,
}

impl Sender {
    /// Senders in a shard with tokens enough for `orders` orders each.
    pub fn crowd(net: &Net, label: &str, shard: ShardId, count: usize, orders: u64) -> Vec<Sender> {
        let amount = 7;
        let funded = orders * (amount + FEE);
        let wallet = |role: &str, index: usize| net.wallet(&format!("{label}-{role}-{index}"), shard);
        let sender =
            |index| Sender { from: wallet("from", index), to: wallet("to", index), amount, funded, orders: Vec::new() };
        let senders: Vec<Sender> = (0..count).map(sender).collect();
        net.fund(&senders.iter().map(|sender| &sender.from).collect::<Vec<_>>(), funded);
        senders
    }

    /// Makes the next order and offers it to a node; whether the node took it. Taken or not, it stays to be applied.
    pub fn push(&mut self, net: &Net, node: &str) -> bool {
        let order = self.from.transfer(net, self.orders.len() as u64, self.to.address, self.amount);
        self.orders.push(order);
        self.offer(net, node, self.orders.len() - 1)
    }

    /// Offers the first orders that are not applied yet again: one that died with its node holds up all after it.
    pub fn repair(&self, net: &Net, node: &str) {
        if let Ok(account) = net.account(node, &self.from.address) {
            for index in (account.nonce..self.orders.len() as u64).take(16) {
                self.offer(net, node, usize::try_from(index).expect("an index of a list"));
            }
        }
    }

    fn offer(&self, net: &Net, node: &str, index: usize) -> bool {
        match net.submit(node, &self.orders[index].bytes) {
            Ok(answer) => {
                assert_eq!(answer.transaction_id, self.orders[index].id.0, "a node computes another id");
                true
            }
            Err(status) => match status.get_details_error_info().map(|info| info.reason) {
                // Applied already: what an answer that was lost with its node led to.
                Some(reason) if reason == "NONCE_USED" => true,
                Some(reason) if !NOT_NOW.contains(&reason.as_str()) => {
                    panic!("{node} refuses a sound order: {status}")
                }
                _ => false,
            },
        }
    }

    /// The orders' ids.
    pub fn ids(&self) -> impl Iterator<Item = Hash> + '_ {
        self.orders.iter().map(|order| order.id)
    }

    /// Offers what is not applied yet until all is, then checks that each order was applied exactly once.
    pub fn finish(&self, net: &Net, node: &str) {
        let made = self.orders.len() as u64;
        until("all orders to be applied", || {
            let nonce = net.account(node, &self.from.address).map_err(|status| status.to_string())?.nonce;
            // A few at a time: the rest waits behind them anyway.
            for index in (nonce..made).take(64) {
                self.offer(net, node, usize::try_from(index).expect("an index of a list"));
            }
            check(nonce >= made, || format!("{nonce} of {made}"))
        });
        let (from, to) = self.balances(net, node);
        assert_eq!(from.nonce, made, "an order was applied twice");
        assert_eq!(from.balance, self.funded - made * (self.amount + FEE), "the sender paid once for each order");
        assert_eq!(to.balance, made * self.amount, "the receiver got each amount once");
    }

    fn balances(&self, net: &Net, node: &str) -> (kakera_proto::v1::Account, kakera_proto::v1::Account) {
        let account = |wallet: &Wallet| net.account(node, &wallet.address).expect("a certified account");
        (account(&self.from), account(&self.to))
    }
}
