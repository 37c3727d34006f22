//! Chains driven by hand: whoever leads proposes, the whole committee certifies.

use super::network::{account_key, secret};
use kakera_beacon::{Beacon, BeaconState, Reply, receipts_toward};
use kakera_chain::{
    BlockId, Member, Slot,
    address::Address,
    application::{Application, CertifiedBlocks, Context, Executed, Proposal},
    block::{Block, Header, outbox_root},
    bond::Bond,
    certificate::{Certificate, Finality, FinalitySignature, Seats},
    codec,
    crosslink::Crosslink,
    era::{Era, EraPlan},
    genesis::Role,
    hash::{Hash, NetworkId, merkle_root},
    lanes::Reading,
    receipt::{Receipt, Reference},
    units::{ChainId, ShardId, Timestamp, ValidatorId},
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

/// The context of the next block above `header`, by the second member of `seats`.
pub(crate) fn above(header: &Header, seats: &Seats, reference: Reference) -> Context {
    Context {
        chain: header.chain,
        height: header.height.next(),
        slot: Slot(header.slot.0 + 1),
        proposer: Member(1),
        validator: seats.validators[1],
        reference,
    }
}

/// The block of a proposal above `parent` in this era.
fn block<S>(context: &Context, parent: BlockId, era: &EraPlan, proposal: &Proposal<S>) -> Block {
    let header = Header {
        chain: context.chain,
        epoch: era.epoch,
        root: era.root.1,
        parent,
        height: context.height,
        slot: context.slot,
        proposer: context.proposer,
        reference: proposal.reference,
        state_root: proposal.executed.state_root,
        body_root: merkle_root(&proposal.body),
        witness_root: merkle_root(&proposal.witnesses),
        outbox_root: outbox_root(&proposal.executed.receipts),
        figures: proposal.executed.figures.clone(),
    };
    Block { header, body: proposal.body.clone(), witnesses: proposal.witnesses.clone() }
}

fn entered(era: &EraPlan, chain: ChainId, network: NetworkId) -> Era {
    Era { network, chain, epoch: era.epoch, root: era.root.1 }
}

/// One shard's chain.
#[derive(Clone)]
pub(crate) struct ShardChain {
    pub(crate) shard: Shard,
    pub(crate) head: Executed<ShardState>,
    pub(crate) header: Header,
    /// All blocks, from height 1 on.
    pub(crate) blocks: Vec<Block>,
    /// The eras so far; the last one is this one.
    pub(crate) eras: Vec<EraPlan>,
    network: NetworkId,
    unrecorded: Vec<(Header, Vec<Receipt>)>,
}

impl ShardChain {
    pub(super) fn new(shard: Shard, header: Header, era: EraPlan, network: NetworkId) -> ShardChain {
        let head = shard.genesis();
        // The shard's first block reads the beacon's genesis.
        ShardChain { head, shard, header, eras: vec![era], network, blocks: Vec::new(), unrecorded: Vec::new() }
    }

    fn era(&self) -> &EraPlan {
        self.eras.last().unwrap()
    }

    /// The context of the next block.
    pub(crate) fn context(&self, reference: Reference) -> Context {
        above(&self.header, &self.era().seats, reference)
    }

    /// Goes on in the era that this beacon state names.
    pub(super) fn enter(&mut self, state: &BeaconState) {
        let era = state.era_of(self.shard.rules().shard, &Default::default()).unwrap();
        assert_eq!(era.root.1, self.header.id(self.network));
        self.shard.enter(&entered(&era, self.header.chain, self.network));
        self.eras.push(era);
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

    /// Gives the pool one order to the beacon, of another account.
    pub(super) fn ask(&mut self, round: u64, shard: u16) {
        let (key, validator) = (account_key(shard, 1), ValidatorId(5));
        let owner = Address::of(&key.public());
        let action = match round % 5 {
            0 => {
                let new = secret(ValidatorId(100 + u32::from(shard)));
                let end = ("127.0.0.1:5000".to_owned(), Hash([8; 32]));
                Action::Bond { bond: Box::new(Bond::sign(&new, &owner, (Role::Shard, 2), end, self.network)) }
            }
            1 => Action::TopUp { validator, seats: 1 },
            2 => Action::Exit { validator: ValidatorId(11) },
            3 => Action::Resume { validator },
            _ => Action::SubmitEvidence { bytes: vec![9; 33] },
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
        let proposal = self.shard.propose(&self.head.state, &self.context(self.header.reference), false).unwrap();
        let context = self.context(proposal.reference);
        let again = validator.execute(&self.head.state, &context, &proposal.body, &proposal.witnesses).unwrap();
        assert_eq!((again.state_root, &again.receipts), (proposal.executed.state_root, &proposal.executed.receipts));
        assert_eq!(again.figures, proposal.executed.figures);
        let block = block(&context, self.header.id(self.network), self.era(), &proposal);
        self.shard.certified(block.header.id(self.network), &block, &self.head.state, &proposal.executed);
        self.unrecorded.push((block.header.clone(), again.receipts));
        self.header = block.header.clone();
        self.head = proposal.executed;
        self.blocks.push(block);
    }

    /// Of everything since the last one.
    pub(super) fn crosslink(&mut self) -> Option<Crosslink> {
        let (headers, receipts): (Vec<_>, Vec<_>) = std::mem::take(&mut self.unrecorded).into_iter().unzip();
        let seats = &self.era().seats;
        let certificate = certify(headers.last()?, seats, seats.keys.len(), self.network);
        Some(Crosslink { shard: self.shard.rules().shard, headers, receipts, certificate })
    }

    pub(super) fn follow(&mut self, reading: &Reading) {
        let reply = self.shard.handle(NOW, &self.head.state, Input::Beacon(vec![reading.clone()])).reply;
        assert!(matches!(reply, kakera_shard::Reply::BeaconAdvanced(_)), "{reply:?}");
    }
}

/// The beacon's chain.
pub(super) struct BeaconChain {
    beacon: Beacon,
    head: Executed<BeaconState>,
    header: Header,
    era: EraPlan,
    network: NetworkId,
    /// The next block's slot, at least.
    slot: Slot,
}

impl BeaconChain {
    pub(super) fn new(beacon: Beacon, header: Header, network: NetworkId) -> BeaconChain {
        let head = beacon.genesis();
        let era = head.state.beacon_era((header.height, header.id(network)), &Default::default());
        BeaconChain { head, beacon, header, era, network, slot: Slot(0) }
    }

    pub(super) fn state(&self) -> &BeaconState {
        &self.head.state
    }

    pub(super) fn offer(&mut self, crosslink: Crosslink) {
        let reply = self.beacon.handle(NOW, &self.head.state, crosslink).reply;
        assert_eq!(reply, Reply::Accepted);
    }

    /// No block before this slot.
    pub(super) fn wait(&mut self, slot: u64) {
        self.slot = Slot(slot);
    }

    /// Goes on in the era on the newest block.
    pub(super) fn enter(&mut self) {
        self.era = self.head.state.beacon_era((self.header.height, self.header.id(self.network)), &Default::default());
        self.beacon.enter(&entered(&self.era, ChainId::Beacon, self.network));
    }

    /// Records what was offered, certified by all members but the last; and what that says to each shard.
    pub(super) fn step(&mut self) -> (CertifiedBlocks, Vec<Reading>) {
        let seats = &self.era.seats;
        let context = above(&self.header, seats, self.header.reference);
        let context = Context { slot: context.slot.max(self.slot), ..context };
        let proposal = self.beacon.propose(&self.head.state, &context, false).unwrap();
        let block = block(&context, self.header.id(self.network), &self.era, &proposal);
        let id = block.header.id(self.network);
        self.beacon.certified(id, &block, &self.head.state, &proposal.executed);
        self.header = block.header.clone();
        self.head = proposal.executed;
        let reference = Reference { height: context.height, slot: context.slot, id };
        let say = |shard| {
            let receipts = receipts_toward(shard, &block, &self.head.receipts);
            self.head.state.reading(shard, reference, receipts).unwrap()
        };
        let readings = (0..super::SHARDS).map(ShardId).map(say).collect();
        let certificate = certify(&self.header, seats, seats.keys.len() - 1, self.network);
        self.beacon.certificate(&certificate);
        (CertifiedBlocks { blocks: vec![block], certificate }, readings)
    }
}
