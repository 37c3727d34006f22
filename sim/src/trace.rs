//! What happened, line by line: the same bytes for the same scenario and seed, on every machine.

use crate::{
    clock::Moment,
    faults::Action,
    node::{Delivery, NodeId},
};
use kakera_chain::{
    BlockId, Member,
    hash::Hash,
    peer::PeerMessage,
    replica::Breach,
    units::{Epoch, Height},
};
use sha2::{Digest, Sha256};
use std::fmt::{self, Write as _};

/// The trace of a run; its digest is always made, its text kept on request.
pub struct Trace {
    hasher: Sha256,
    kept: Option<String>,
    line: String,
}

impl Trace {
    /// An empty trace.
    pub fn new(keep: bool) -> Trace {
        Trace { hasher: Sha256::new(), kept: keep.then(String::new), line: String::new() }
    }

    /// The digest, and the text if it was kept.
    pub fn finish(self) -> (Hash, Option<String>) {
        (Hash(self.hasher.finalize().into()), self.kept)
    }

    fn write(&mut self, at: Moment, what: fmt::Arguments<'_>) {
        self.line.clear();
        writeln!(self.line, "{at} {what}").expect("a string takes everything");
        self.hasher.update(self.line.as_bytes());
        if let Some(kept) = &mut self.kept {
            kept.push_str(&self.line);
        }
    }

    /// Something reached a node.
    pub fn arrived(&mut self, at: Moment, to: NodeId, delivery: &Delivery) {
        self.write(at, format_args!("{to} hears {}", Heard(delivery)));
    }

    /// A node was ticked.
    pub fn ticked(&mut self, at: Moment, node: NodeId) {
        self.write(at, format_args!("{node} ticks"));
    }

    /// A block became certified at a node.
    pub fn certified(&mut self, at: Moment, node: NodeId, block: &BlockId, height: Height) {
        self.write(at, format_args!("{node} certifies {height} {}", Short(&block.0)));
    }

    /// A replica entered an era.
    pub fn entered(&mut self, at: Moment, node: NodeId, epoch: Epoch, root: Height) {
        self.write(at, format_args!("{node} enters epoch {epoch} on height {root}"));
    }

    /// Certified blocks were taken back at a node.
    pub fn undone(&mut self, at: Moment, node: NodeId, blocks: &[(Height, BlockId)]) {
        let count = blocks.len();
        let first = blocks.first().map(|(height, _)| *height).unwrap_or_default();
        self.write(at, format_args!("{node} takes back {count} blocks from height {first} on"));
    }

    /// A process started.
    pub fn started(&mut self, at: Moment, node: NodeId) {
        self.write(at, format_args!("{node} starts"));
    }

    /// A process was killed.
    pub fn killed(&mut self, at: Moment, node: NodeId, lost: usize) {
        self.write(at, format_args!("{node} is killed, {lost} batches lost"));
    }

    /// A replica halted.
    pub fn halted(&mut self, at: Moment, node: NodeId, breach: &Breach) {
        self.write(at, format_args!("{node} halts: {breach}"));
    }

    /// Something befell the world.
    pub fn befell(&mut self, at: Moment, action: &Action) {
        self.write(at, format_args!("fault {action:?}"));
    }

    /// A Byzantine member did something.
    pub fn twisted(&mut self, at: Moment, node: NodeId, what: &str) {
        self.write(at, format_args!("{node} twists: {what}"));
    }
}

/// The first bytes of a hash.
struct Short<'a>(&'a [u8; 32]);

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

struct Heard<'a>(&'a Delivery);

impl fmt::Display for Heard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Delivery::Peer { from, epoch, message } => write!(f, "{} of {from} in {epoch}", Said(message)),
            Delivery::Submit { order, .. } => write!(f, "order {order}"),
            Delivery::Follow { from, stream, next } => write!(f, "follow {stream} of {from} from height {next}"),
            Delivery::Feed { stream, blocks } => {
                let finality = &blocks.certificate.finality;
                write!(f, "beacon block {} {} on stream {stream}", finality.height, Short(&finality.block.0))
            }
            Delivery::Crosslink { from, attempt, crosslink, .. } => {
                let finality = &crosslink.certificate.finality;
                write!(f, "crosslink {attempt} of {from} up to height {} {}", finality.height, Short(&finality.block.0))
            }
            Delivery::Followed { stream } => write!(f, "stream {stream} open"),
            Delivery::CrosslinkTaken { attempt } => write!(f, "crosslink {attempt} taken"),
            Delivery::Pull { from, root, next } => write!(f, "pull of {from} from {next} in {}", Short(&root.0)),
            Delivery::Pulled { closed, blocks } => {
                let up_to = blocks.as_ref().map(|blocks| blocks.certificate.finality.height).unwrap_or_default();
                write!(f, "pulled up to {up_to}{}", if closed.is_some() { ", era closed" } else { "" })
            }
        }
    }
}

struct Said<'a>(&'a PeerMessage);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let member = |f: &mut fmt::Formatter<'_>, what: &str, member: &Member| write!(f, "{what} {member}");
        match self.0 {
            PeerMessage::Message(carried) => {
                let statement = &carried.message.statement;
                let kind = if carried.block.is_some() { "proposal" } else { "vote" };
                write!(
                    f,
                    "{kind} {}.{} {}",
                    statement.sender,
                    statement.seq,
                    Short(&carried.message.signature.0[..32].try_into().expect("half of a signature"))
                )
            }
            PeerMessage::Finality(share) => {
                write!(f, "share of {} at {}", share.signer, share.finality.height)
            }
            PeerMessage::Certificate(certificate) => write!(f, "certificate of {}", certificate.finality.height),
            PeerMessage::Status(status) => write!(f, "status at {}", status.certified.0),
            PeerMessage::Since(_) => f.write_str("since"),
            PeerMessage::Messages(list) => write!(f, "{} messages", list.len()),
            PeerMessage::ById(ids) => write!(f, "by id, {}", ids.len()),
            PeerMessage::WantCites(id) => write!(f, "want cites {}", Short(&id.0)),
            PeerMessage::Cites { message, .. } => write!(f, "cites {}", Short(&message.0)),
            PeerMessage::WantCertificate(block) => write!(f, "want certificate {}", Short(&block.0)),
            PeerMessage::WantEvidence(who) => member(f, "want evidence of", who),
            PeerMessage::Evidence(evidence) => member(f, "evidence of", &evidence.first.statement.sender),
            PeerMessage::Conflict(conflict) => member(f, "conflict of", &conflict.first.signer),
            PeerMessage::Application(bytes) => write!(f, "gossip of {} bytes", bytes.len()),
        }
    }
}
