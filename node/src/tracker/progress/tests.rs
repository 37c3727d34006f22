//! Watched transactions while forks come and go, with blocks made up for the purpose.

#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use crate::tracker::{Life, Watch};
use kakera_chain::{
    Member,
    address::Address,
    block::{Figures, Header},
    codec,
    keys::SecretKey,
    receipt::Reference,
    units::{Epoch, ShardId},
};
use kakera_proto::v1::TransactionStatus;
use kakera_shard::{Action, Transaction};
use tokio::sync::watch;

const NETWORK: NetworkId = NetworkId(Hash([7; 32]));

fn transaction(nonce: u64) -> Transaction {
    Transaction {
        network: NETWORK,
        sender: SecretKey::from_seed([1; 32]).public(),
        nonce,
        valid_until: Slot(100),
        gas_limit: 1,
        max_fee: 1,
        tip: 0,
        action: Action::Transfer { to: Address([2; 32]), amount: 1 },
    }
}

/// A block of these transactions at `height`; `mark` tells branches apart.
fn block(height: u64, mark: u8, transactions: &[Transaction]) -> (BlockId, Arc<Block>) {
    let header = Header {
        chain: ChainId::Shard(ShardId(0)),
        epoch: Epoch(0),
        root: BlockId::default(),
        parent: BlockId::default(),
        height: Height(height),
        slot: Slot(height),
        proposer: Member(0),
        reference: Reference { height: Height(0), slot: Slot(0), id: BlockId::default() },
        state_root: Hash::ZERO,
        body_root: Hash::ZERO,
        witness_root: Hash::ZERO,
        outbox_root: Hash::ZERO,
        figures: Figures::default(),
    };
    let body = transactions.iter().map(codec::encode).collect();
    (BlockId([mark; 32]), Arc::new(Block { header, body, witnesses: Vec::new() }))
}

fn view(certified: u64, path: &[(BlockId, Arc<Block>)]) -> View {
    let (recorded, beacon) = (Height(0), Height(3));
    View { path: path.to_vec(), network: NETWORK, certified: Height(certified), recorded, beacon }
}

fn watched(id: Hash) -> (Watches, watch::Receiver<Life>) {
    let mut watches = Watches::default();
    let life = watch::Sender::new(Life::new(id, now()));
    let listener = life.subscribe();
    watches.transactions.insert(id, Watch { life, brief: None });
    (watches, listener)
}

fn stages(listener: &watch::Receiver<Life>) -> Vec<Stage> {
    listener.borrow().past(0).iter().map(TransactionStatus::stage).collect()
}

#[test]
fn a_block_that_loses_its_fork_gives_its_transactions_back_until_another_takes_them() {
    let (mine, id) = (transaction(0), transaction(0).id());
    let (mut watches, listener) = watched(id);
    let (first, rival, later) =
        (block(1, 1, std::slice::from_ref(&mine)), block(1, 2, &[]), block(2, 3, std::slice::from_ref(&mine)));
    watches.advance(view(0, &[]));
    assert_eq!(stages(&listener), []);
    watches.advance(view(0, std::slice::from_ref(&first)));
    assert_eq!(stages(&listener), [Stage::Accepted, Stage::Included]);
    watches.advance(view(0, std::slice::from_ref(&rival)));
    assert_eq!(stages(&listener)[2..], [Stage::Accepted]);
    watches.advance(view(0, &[later, rival]));
    assert_eq!(stages(&listener)[3..], [Stage::Included]);
    assert_eq!(listener.borrow().uncertified(), Some((Height(2), BlockId([3; 32]))));
}

#[test]
fn a_block_that_is_certified_before_its_event_comes_is_no_lost_fork() {
    let (mine, id) = (transaction(0), transaction(0).id());
    let (mut watches, listener) = watched(id);
    let (first, second) = (block(1, 1, &[mine]), block(2, 2, &[]));
    watches.advance(view(0, std::slice::from_ref(&first)));
    watches.advance(view(1, std::slice::from_ref(&second)));
    assert_eq!(stages(&listener), [Stage::Accepted, Stage::Included], "it left the path by being certified");
    watches.certify(id, (Height(1), first.0), &[]);
    watches.path.taken = Height(1);
    watches.advance(View { recorded: Height(1), ..view(1, &[second]) });
    watches.settle_recorded();
    assert_eq!(stages(&listener)[2..], [Stage::ShardFinal, Stage::Recorded]);
    assert!(listener.borrow().is_over());
}

#[test]
fn a_transaction_expires_once_no_block_can_include_it_but_not_while_one_does() {
    let (mine, id) = (transaction(0), transaction(0).id());
    let (mut watches, listener) = watched(id);
    let first = block(1, 1, &[mine]);
    watches.advance(view(0, std::slice::from_ref(&first)));
    watches.expire(Slot(101));
    assert_eq!(stages(&listener), [Stage::Accepted, Stage::Included]);
    watches.advance(view(0, &[]));
    watches.expire(Slot(100));
    assert_eq!(stages(&listener)[2..], [Stage::Accepted], "valid until and with slot 100");
    watches.expire(Slot(101));
    assert_eq!(stages(&listener)[3..], [Stage::Expired]);
}
