//! Chains driven by hand: whoever leads proposes, the whole committee certifies.

use super::network::{account_key, secret};
use kakera_beacon::{Beacon, BeaconState, Reply};
use kakera_chain::{
    BlockId, Member, Slot,
    address::Address,
    application::{Application, CertifiedBlocks, Context, Executed, Proposal},
    block::{Block, Header, outbox_root},
    certificate::{Certificate, Finality, FinalitySignature, Seats},
    codec,
    crosslink::Crosslink,
    hash::{NetworkId, merkle_root},
    receipt::{Receipt, Reference},
    units::Timestamp,
};
use kakera_shard::{Action, Input, Shard, ShardState, Transaction};

const NOW: Timestamp = Timestamp(2_000);

/// The certificate of a header by the first `signers` members.
pub(crate) fn certify(header: &Header, seats: &Seats, signers: usize, network: NetworkId) -> Certificate {
    let finality = Finality::of(header, network);
    let sign = |(member, validator): (u16, _)| {
        let signed = FinalitySignature::sign(finality, Member(member), &secret(validator), network);
        (signed.signer, signed.signature)
    };
    let signers = (0..).zip(seats.validators.iter().copied()).take(signers);
    Certificate { finality, signatures: signers.map(sign).collect() }
}

/// The context of the next block above `header`.
pub(crate) fn above(header: &Header, reference: Reference) -> Context {
    Context {
        chain: header.chain,
        height: header.height.next(),
        slot: Slot(header.slot.0 + 1),
        proposer: Member(1),
        reference,
    }
}

/// The block of a proposal above `parent`; `root` is the era's.
pub(crate) fn block<S>(parent: &Header, root: BlockId, proposal: &Proposal<S>, network: NetworkId) -> Block {
    let context = above(parent, proposal.reference);
    let header = Header {
        root,
        parent: parent.id(network),
        height: context.height,
        slot: context.slot,
        proposer: context.proposer,
        reference: proposal.reference,
        state_root: proposal.executed.state_root,
        body_root: merkle_root(&proposal.body),
        witness_root: merkle_root(&proposal.witnesses),
        outbox_root: outbox_root(&proposal.executed.receipts),
        figures: proposal.executed.figures.clone(),
        ..parent.clone()
    };
    Block { header, body: proposal.body.clone(), witnesses: proposal.witnesses.clone() }
}

/// One shard's chain.
#[derive(Clone)]
pub(crate) struct ShardChain {
    pub(crate) shard: Shard,
    pub(crate) head: Executed<ShardState>,
    pub(crate) header: Header,
    /// All blocks, from height 1 on.
    pub(crate) blocks: Vec<Block>,
    root: BlockId,
    seats: Seats,
    network: NetworkId,
    unrecorded: Vec<(Header, Vec<Receipt>)>,
}

impl ShardChain {
    pub(super) fn new(shard: Shard, header: Header, seats: Seats, network: NetworkId) -> ShardChain {
        let head = shard.genesis();
        let root = header.id(network);
        // The shard's first block reads the beacon's genesis.
        let header = Header { reference: header.reference, ..header };
        ShardChain { head, shard, header, root, seats, network, blocks: Vec::new(), unrecorded: Vec::new() }
    }

    /// Gives the pool one transfer: to the same shard, to the other, or both in a batch.
    pub(super) fn spend(&mut self, round: u64, shard: u16) {
        let key = account_key(shard, 0);
        let to = |n| Address::of(&account_key((shard + u16::from(n)) % super::SHARDS, 1).public());
        let action = match round % 3 {
            0 => Action::Transfer { to: to(true), amount: 10 + round },
            1 => Action::Batch { transfers: vec![(to(true), 5), (to(false), 6), (to(true), 7)] },
            _ => Action::Transfer { to: to(false), amount: 3 },
        };
        let signed = self.order(&key, action).sign(&key);
        let handled = self.shard.handle(NOW, &self.head.state, Input::Submit(signed));
        assert!(matches!(handled.reply, kakera_shard::Reply::Accepted { .. }), "{:?}", handled.reply);
    }

    /// Canonical bytes of a signed order.
    pub(crate) fn signed(&self) -> Vec<u8> {
        let key = account_key(self.shard.rules().shard.0, 1);
        let action = Action::Transfer { to: Address([8; 32]), amount: 4 };
        codec::encode(&self.order(&key, action).sign(&key))
    }

    /// An order with the sender's next nonce and plenty of everything.
    pub(crate) fn order(&self, key: &kakera_chain::keys::SecretKey, action: Action) -> Transaction {
        Transaction {
            network: self.network,
            sender: key.public(),
            nonce: self.head.state.account(&Address::of(&key.public())).nonce,
            valid_until: Slot(u64::MAX),
            gas_limit: 100_000,
            max_fee: 1_000,
            tip: 1,
            action,
        }
    }

    /// Proposes, and another validator recomputes.
    pub(crate) fn step(&mut self) {
        let mut validator = self.shard.clone();
        let proposal = self.shard.propose(&self.head.state, &above(&self.header, self.header.reference), false);
        let context = above(&self.header, proposal.reference);
        let again = validator.execute(&self.head.state, &context, &proposal.body, &proposal.witnesses).unwrap();
        assert_eq!((again.state_root, &again.receipts), (proposal.executed.state_root, &proposal.executed.receipts));
        assert_eq!(again.figures, proposal.executed.figures);
        let block = block(&self.header, self.root, &proposal, self.network);
        self.shard.certified(block.header.id(self.network), &block, &self.head.state, &proposal.executed);
        self.unrecorded.push((block.header.clone(), again.receipts));
        self.header = block.header.clone();
        self.head = proposal.executed;
        self.blocks.push(block);
    }

    /// Of everything since the last one.
    pub(super) fn crosslink(&mut self) -> Crosslink {
        let (headers, receipts): (Vec<_>, Vec<_>) = std::mem::take(&mut self.unrecorded).into_iter().unzip();
        let certificate = certify(headers.last().unwrap(), &self.seats, self.seats.keys.len(), self.network);
        Crosslink { shard: self.shard.rules().shard, headers, receipts, certificate }
    }

    pub(super) fn follow(&mut self, certified: &CertifiedBlocks) {
        let reply = self.shard.handle(NOW, &self.head.state, Input::Beacon(certified.clone())).reply;
        assert!(matches!(reply, kakera_shard::Reply::BeaconAdvanced(_)), "{reply:?}");
    }
}

/// The beacon's chain.
pub(super) struct BeaconChain {
    beacon: Beacon,
    head: Executed<BeaconState>,
    header: Header,
    root: Option<BlockId>,
}

impl BeaconChain {
    pub(super) fn new(beacon: Beacon, header: Header) -> BeaconChain {
        BeaconChain { head: beacon.genesis(), beacon, header, root: None }
    }

    pub(super) fn state(&self) -> &BeaconState {
        &self.head.state
    }

    pub(super) fn offer(&mut self, crosslink: Crosslink) {
        let reply = self.beacon.handle(NOW, &self.head.state, crosslink).reply;
        assert_eq!(reply, Reply::Accepted);
    }

    /// Records what was offered, certified by all members but the last.
    pub(super) fn step(&mut self, seats: &Seats, network: NetworkId) -> CertifiedBlocks {
        let root = *self.root.get_or_insert_with(|| self.header.id(network));
        let proposal = self.beacon.propose(&self.head.state, &above(&self.header, self.header.reference), false);
        let block = block(&self.header, root, &proposal, network);
        self.beacon.certified(block.header.id(network), &block, &self.head.state, &proposal.executed);
        self.header = block.header.clone();
        self.head = proposal.executed;
        let certificate = certify(&self.header, seats, seats.keys.len() - 1, network);
        CertifiedBlocks { blocks: vec![block], certificate }
    }
}
