//! One chain's state machine: consensus engine, application, and what ties them.
//!
//! ```text
//!   peers ──► receive ──► engine (cbc) ──► finality ──► certified ──► application
//!               │  ▲          │                │
//!             sync (what is   voice (propose,  shares, certificates
//!             missing)        vote, join)
//! ```
//!
//! Every input is handled to its end; what is to be done comes back as effects in the order of the crash contract:
//! the store's writes (synced when something is to be said), the guard beside the store, then everything sent.

mod adopt;
mod conflict;
mod doubt;
mod eras;
mod explain;
mod fetches;
mod finality;
mod footprint;
mod import;
mod interlock;
mod ledger;
mod past;
mod queries;
mod receive;
mod record;
mod replay;
mod restart;
mod sync;
mod voice;

pub use crate::era::{Era, EraPlan};
pub use adopt::{adopt, is_begun};
pub use eras::ClosedEra;
pub use explain::BlockExplanation;
pub use footprint::{Footprint, Holding};
pub use import::InvalidBlocks;
pub use interlock::SignState;
pub use kakera_cbc::{Explanation, Hold, LevelFinding, MemberFinding, Stand};
pub use ledger::Held;
pub use queries::{Head, MemberStatus, Status, Totals};
pub use restart::{InvalidStore, ReplicaConfig};
pub use voice::Phase;

use crate::{
    application::{Application, CertifiedBlocks, Executed},
    block::{Block, Header},
    certificate::{Certificate, Finality, Seats},
    genesis::{Network, Timing},
    keys::SecretKey,
    machine::StateMachine,
    message::SignedMessage,
    peer::{Carried, PeerMessage},
    receipt::Receipt,
    store::{Store, Write},
    units::{Epoch, Height, SlotClock, Timestamp, ValidatorId},
};
use doubt::Doubts;
use eras::Ahead;
use fetches::Fetches;
use finality::Shares;
use kakera_cbc::{BlockId, Blocks, Engine, Member, MessageId, Slot, Speaker};
use ledger::Ledger;
use past::Past;
use std::{collections::BTreeMap, sync::Arc};
use voice::Voice;

/// What may happen to a replica.
pub enum Input<I> {
    /// Time passed.
    Tick,
    /// A validator said something to the members of an era of this chain; the transport vouches for who.
    Peer {
        /// Who.
        from: ValidatorId,
        /// The era's epoch.
        epoch: Epoch,
        /// What.
        message: PeerMessage,
    },
    /// An era to go on in as soon as its root is certified here.
    Era(Box<EraPlan>),
    /// Proof that this era is over, for one who missed its end.
    Closed(Box<ClosedEra>),
    /// Certified blocks of this chain, for one who follows.
    Blocks(Box<CertifiedBlocks>),
    /// Certificates of this chain that certified beacon blocks record, ascending: given before the era that begins on one of
    /// them.
    Recorded(Vec<Certificate>),
    /// Something for the application.
    Application(I),
}

/// What a replica wants done, in this order.
#[derive(Debug)]
pub enum Effect<R> {
    /// Write all of this, or nothing; `synced`: it is on disk before the next effect.
    Persist {
        /// The writes.
        writes: Vec<Write>,
        /// Whether to wait for the disk.
        synced: bool,
    },
    /// Remember this outside the store before the next effect.
    Guard(SignState),
    /// Send to every other member.
    Broadcast(PeerMessage),
    /// Send to one member.
    Send(Member, PeerMessage),
    /// A block entered the tree, on whatever branch.
    Included {
        /// Its id.
        id: BlockId,
        /// The block.
        block: Arc<Block>,
    },
    /// A block became certified, in height order.
    Certified {
        /// Its id.
        id: BlockId,
        /// The block.
        block: Arc<Block>,
        /// What it emits.
        receipts: Arc<Vec<Receipt>>,
    },
    /// Certified blocks were taken back, ascending: the root of a new era leaves them out.
    Undone(Vec<(Height, BlockId)>),
    /// A new era began.
    Entered(Box<EraPlan>),
    /// The certified blocks just given are not taken.
    BlocksRefused(InvalidBlocks),
    /// To be opened again from the store, where a new era can be entered; it does nothing any more.
    Reopen,
    /// The application knows more references.
    ReferencesGrew,
    /// The application's answer to the input just handled.
    Reply(R),
    /// A message, block or certificate of this member was refused.
    Refused {
        /// Who sent it.
        from: Member,
        /// Why.
        reason: Refused,
    },
    /// A safety breach: stop, and say this.
    Halt(Breach),
}

/// Why something a peer sent was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Speaks of another chain or era.
    #[error("it speaks of another chain or era")]
    OtherEra,
    /// A signature that does not verify.
    #[error("a signature does not verify")]
    Signature,
    /// A proposal without its block, or with another one.
    #[error("the proposal does not come with its block")]
    Block,
    /// A header that does not say what the message says.
    #[error("the block's header disagrees with its message")]
    Header,
    /// The block's content is invalid.
    #[error("the block's content is invalid")]
    Content,
    /// A block on a switch block, in the era that it closed.
    #[error("the block is built on one that closed its era")]
    Closed,
    /// Against the rules of consensus.
    #[error("the message is invalid: {0}")]
    Message(kakera_cbc::Invalid),
    /// A certificate that does not hold.
    #[error("{0}")]
    Certificate(crate::certificate::InvalidCertificate),
    /// Evidence that shows nothing.
    #[error("the evidence shows no offence")]
    Evidence,
    /// A list of the wrong length.
    #[error("a list has {found} entries, the committee {expected} members")]
    Length {
        /// Entries found.
        found: usize,
        /// Entries needed.
        expected: usize,
    },
    /// No room to wait in.
    #[error("too many messages wait")]
    Full,
}

/// The assumption that at most t weight is faulty does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    /// Two certified blocks, neither above the other.
    #[error(
        "certified block {certified} at height {height} conflicts with the certificate of {other}: more than a third of the committee is faulty"
    )]
    ConflictingCertificates {
        /// Height of the block held.
        height: Height,
        /// The block held.
        certified: BlockId,
        /// The other.
        other: BlockId,
    },
    /// The own detector finalized against what this member signed as final.
    #[error("block {finalized} was finalized, but block {signed} was signed as final and is not below it")]
    ConflictingFinality {
        /// What was signed.
        signed: BlockId,
        /// What is finalized now.
        finalized: BlockId,
    },
    /// A certificate against what the own detector has finalized.
    #[error("the certificate of block {certified} conflicts with block {finalized}, which was finalized here")]
    CertifiedAgainstFinality {
        /// What was finalized.
        finalized: BlockId,
        /// The certified block.
        certified: BlockId,
    },
    /// The root of an era is not the block that is certified here.
    #[error("the era of epoch {epoch} has the root {root} at height {height}, but another block is certified there")]
    ConflictingRoot {
        /// The era's epoch.
        epoch: Epoch,
        /// The root's height.
        height: Height,
        /// The root.
        root: BlockId,
    },
    /// The stored messages, judged again, show something else than what is believed.
    #[error("the stored messages contradict {what}")]
    Past {
        /// What is believed.
        what: &'static str,
    },
    /// The store does not hold what was written.
    #[error("{0}")]
    InvalidStore(InvalidStore),
    /// The store failed under the replica.
    #[error("{0}")]
    Store(crate::store::StoreFailure),
}

/// One chain's state machine, see the module.
pub struct Replica<A: Application> {
    network: Arc<Network>,
    era: Era,
    seats: Seats,
    timing: Timing,
    clock: SlotClock,
    validator: Option<ValidatorId>,
    key: Option<SecretKey>,
    store: Arc<dyn Store>,
    app: A,
    engine: Engine<Blocks>,
    past: Past,
    speaker: Speaker,
    ledger: Ledger<A::State>,
    shares: Shares,
    fetches: Fetches,
    doubts: Doubts,
    voice: Voice,
    /// Messages that the engine has parked, as they came, and from whom.
    waiting: BTreeMap<MessageId, (Member, Carried)>,
    /// Messages taken while the current input is handled, not in the store yet.
    unwritten: BTreeMap<MessageId, SignedMessage>,
    ahead: Ahead,
    started: Timestamp,
    newest_certificate: Option<Certificate>,
    next_insertion: u64,
    now: Timestamp,
    out: Out<A::Reply>,
}

/// Effects gathered while an input is handled.
struct Out<R> {
    writes: Vec<Write>,
    synced: bool,
    guard: Option<SignState>,
    sent: Vec<Effect<R>>,
    halted: Option<Breach>,
}

impl<R> Default for Out<R> {
    fn default() -> Self {
        Out { writes: Vec::new(), synced: false, guard: None, sent: Vec::new(), halted: None }
    }
}

impl<R> Out<R> {
    fn put(&mut self, table: crate::store::Table, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.writes.push(Write::put(table, key, value));
    }

    fn halt(&mut self, breach: Breach) {
        self.halted.get_or_insert(breach);
    }

    /// In the order of the crash contract. A halted replica says nothing any more.
    fn take(&mut self) -> Vec<Effect<R>> {
        let Out { writes, synced, guard, sent, halted } = std::mem::take(self);
        let mut effects = Vec::with_capacity(sent.len() + 2);
        if !writes.is_empty() {
            effects.push(Effect::Persist { writes, synced });
        }
        effects.extend(guard.map(Effect::Guard));
        match halted {
            Some(breach) => effects.push(Effect::Halt(breach)),
            None => effects.extend(sent),
        }
        effects
    }
}

impl<A: Application> StateMachine for Replica<A> {
    type Input = Input<A::Input>;
    type Effect = Effect<A::Reply>;

    fn handle(&mut self, now: Timestamp, input: Self::Input) -> Vec<Self::Effect> {
        self.now = self.now.max(now);
        if self.voice.phase == Phase::Halted {
            return Vec::new();
        }
        self.revisit();
        self.succeed();
        match input {
            Input::Tick => {}
            Input::Peer { from, epoch, message } => self.hear_of(epoch, from, message),
            Input::Era(plan) => self.hear_plan(*plan),
            Input::Closed(closed) => {
                if let Err(reason) = self.hear_closed(*closed) {
                    self.out.sent.push(Effect::BlocksRefused(reason));
                }
            }
            Input::Blocks(blocks) => {
                if let Err(reason) = self.import(&blocks) {
                    self.out.sent.push(Effect::BlocksRefused(reason));
                }
            }
            Input::Recorded(certificates) => certificates.into_iter().for_each(|one| self.hear_recorded(one)),
            Input::Application(input) => self.serve(input),
        }
        self.settle();
        self.ahead.begins = false;
        if self.out.halted.is_some() {
            self.voice.phase = Phase::Halted;
        }
        self.unwritten.clear();
        self.out.take()
    }

    fn next_wakeup(&self) -> Timestamp {
        if self.voice.phase == Phase::Halted {
            return Timestamp(u64::MAX);
        }
        if self.ahead.ripe {
            return self.now;
        }
        let schedule = self.voice.next_wakeup(&self.clock, self.now);
        schedule.min(self.fetches.next_wakeup()).min(self.past.next_wakeup())
    }
}

impl<A: Application> Replica<A> {
    /// Gives an input to the application and passes on what it wants passed on.
    fn serve(&mut self, input: A::Input) {
        let head = self.head_state();
        let handled = self.app.handle(self.now, &head, input);
        self.out.writes.extend(handled.writes);
        self.out.sent.push(Effect::Reply(handled.reply));
        self.after_application(handled.gossip, handled.references_grew);
    }

    /// Takes the application's gossip from a peer; it is passed on only by whoever first took it from a client.
    fn gossip(&mut self, bytes: &[u8]) {
        let head = self.head_state();
        let handled = self.app.gossip(self.now, &head, bytes);
        self.out.writes.extend(handled.writes);
        self.after_application(None, handled.references_grew);
    }

    fn after_application(&mut self, gossip: Option<Vec<u8>>, references_grew: bool) {
        if let Some(bytes) = gossip {
            self.out.sent.push(Effect::Broadcast(PeerMessage::Application(bytes)));
        }
        if references_grew {
            self.references_grew();
            self.out.sent.push(Effect::ReferencesGrew);
        }
    }

    /// The state at the own head: the newest block whose content was executed here.
    fn head_state(&self) -> A::State {
        self.own_head().executed.state.clone()
    }

    /// The own head. Who follows hears no votes, so its fork choice stands still: it has the newest certified block.
    fn own_head(&self) -> &Arc<Held<A::State>> {
        match self.voice.phase {
            Phase::Observer => self.ledger.certified(),
            _ => self.ledger.at_or_below(self.engine.head()),
        }
    }

    /// Everything that follows from what is held now, until nothing more does.
    fn settle(&mut self) {
        self.release();
        self.sign_finalized();
        self.speak();
        self.fetch();
        self.prune();
    }

    /// The slot that it is.
    fn slot(&self) -> Slot {
        self.clock.slot_at(self.now)
    }

    fn finality_of(&self, header: &Header) -> Finality {
        Finality::of(header, self.era.network)
    }
}

/// A block's outcome with its header's claims taken from it.
fn agrees<S>(header: &Header, executed: &Executed<S>) -> bool {
    header.state_root == executed.state_root
        && header.figures == executed.figures
        && header.outbox_root == crate::block::outbox_root(&executed.receipts)
}

#[cfg(test)]
pub(in crate::replica) mod tests;
