//! Evidence: what proves to anybody that a member of a committee broke the rules of its era.
//!
//! Two offences can be proved by what the offender itself signed:
//!
//! - *equivocation*: two messages of one era, sender and `seq`. An honest member cites its previous message and counts
//!   on from it, and what it said is on its disk before it is sent, so it signs one message a `seq`.
//! - *conflicting finality*: two finality signatures of one era on blocks of which neither is an ancestor of the other.
//!   An honest member signs only descendants of all it signed in the era.
//!
//! At equal heights two signatures on different blocks suffice. At heights h1 < h2 the headers from h1 + 1 up to h2 are
//! added. Each of them is bound to the upper signature by hashes alone (the last one's id is what was signed, each names
//! its parent's id), so that nobody can put other headers there; and as the header of height h1 + 1 names the block of
//! height h1 that the upper signature stands on, the header of that block itself is not needed. An honest signer's
//! headers count heights one by one, and the block below this path at h1 is what it signed there: it is safe. There is no
//! shorter sound form: a header's id is a hash of all its bytes, so its parent cannot be shown without the rest of it,
//! and the signer may have been silent at every height in between.
//!
//! A path of more than [`Conflict::MAX_PATH`] headers, or of more than [`Evidence::MAX_BYTES`], proves nothing here: such
//! a pair of signatures goes unpunished (a header takes 341 bytes and 11 for each chain it has received from: with four
//! chains 128 headers fit, with a hundred 45, with 1,024 five). Any two signatures of the same signer in between make
//! the path shorter; who gave none for so many blocks helped to certify none of them either. If more than a third of the
//! committee does so, nothing is certified over that stretch, which every observer sees; and two finalized branches also
//! take equivocations in messages, which are proved without any path.
//!
//! Evidence has one form: the pair is ordered, so that swapping it makes no second piece.

use crate::{
    block::Header,
    certificate::FinalitySignature,
    codec::{self, InvalidBytes},
    hash::{Hash, NetworkId},
    keys::{PublicKey, Signature},
    message::SignedMessage,
    units::{ChainId, Epoch, Height, ValidatorId},
};
use borsh::{
    BorshDeserialize, BorshSerialize,
    io::{Error, ErrorKind, Read},
};
use kakera_cbc::{BlockId, Member};
use thiserror::Error;

/// Proof of one offence of one member.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Evidence {
    /// Two messages of one place.
    Equivocation(Box<Equivocation>),
    /// Two finality signatures that no chain can hold.
    Conflict(Box<Conflict>),
}

/// Two messages of one era, sender and `seq`, the one with the lower id first.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Equivocation {
    /// One.
    pub first: SignedMessage,
    /// The other.
    pub second: SignedMessage,
}

/// Two finality signatures of one era and signer on blocks of which neither is an ancestor of the other: the one of the
/// lower height first, at equal heights the one on the lower block id.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Conflict {
    /// The lower one.
    pub first: FinalitySignature,
    /// The upper one.
    pub second: FinalitySignature,
    /// The headers above the first one's height up to and with the second one's block, ascending; none at equal heights.
    #[borsh(deserialize_with = "read_path")]
    pub path: Vec<Header>,
}

/// What somebody did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Offence {
    /// Said two messages of one `seq`.
    Equivocation {
        /// Which.
        seq: u64,
    },
    /// Signed two blocks as final of which neither is an ancestor of the other.
    ConflictingFinality {
        /// The lower one's height.
        low: Height,
        /// The upper one's.
        high: Height,
    },
}

/// Whom a piece of evidence proves guilty, and of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guilty {
    /// Who.
    pub validator: ValidatorId,
    /// The member that it was.
    pub member: Member,
    /// On which chain.
    pub chain: ChainId,
    /// In which epoch's era.
    pub epoch: Epoch,
    /// The root of that era.
    pub root: BlockId,
    /// What it did.
    pub offence: Offence,
}

/// Why evidence proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidEvidence {
    /// The two are of different chains, epochs or roots.
    #[error("the two are of different eras")]
    DifferentEras,
    /// The two are by different members.
    #[error("the two are by members {first} and {second}")]
    DifferentMembers {
        /// One.
        first: Member,
        /// The other.
        second: Member,
    },
    /// Two messages of different places.
    #[error("the messages have seq {first} and {second}")]
    DifferentSeq {
        /// The first one's.
        first: u64,
        /// The second one's.
        second: u64,
    },
    /// The same thing twice.
    #[error("the two say the same")]
    Same,
    /// Not in the one order that evidence has.
    #[error("the two are in the wrong order")]
    Order,
    /// No such member in the committees known.
    #[error("no member {member} of {chain} in epoch {epoch} is known")]
    UnknownSeat {
        /// The chain.
        chain: ChainId,
        /// The epoch.
        epoch: Epoch,
        /// The member.
        member: Member,
    },
    /// A signature that does not verify.
    #[error("signature {position} does not verify")]
    Signature {
        /// 0 or 1.
        position: u8,
    },
    /// More or fewer headers than there are heights between the two, or more than are allowed.
    #[error("{found} headers lie on a path of {needed}, at most {limit}")]
    PathLength {
        /// Headers present.
        found: usize,
        /// Headers needed.
        needed: u64,
        /// Headers allowed.
        limit: u64,
    },
    /// A header of another era or height, or not the parent of the one above it (the last: not the signed block).
    #[error("the header at position {position} is not on the path of the upper signature")]
    Path {
        /// Which.
        position: usize,
    },
    /// The lower block is an ancestor of the upper one.
    #[error("the blocks are on one chain")]
    OneChain,
    /// Too many bytes.
    #[error("{found} bytes exceed the limit of {limit}")]
    TooLong {
        /// Bytes present.
        found: usize,
        /// Bytes allowed.
        limit: usize,
    },
}

impl Evidence {
    /// Canonical bytes at most. Two messages of members of a committee of 1,024 take less than half of it.
    pub const MAX_BYTES: usize = 64 * 1024;

    /// Decodes canonical bytes; says nothing about whether they prove anything.
    ///
    /// # Errors
    /// Too many bytes, or not the canonical form.
    pub fn decode(bytes: &[u8]) -> Result<Evidence, InvalidBytes> {
        codec::decode(bytes, Evidence::MAX_BYTES)
    }

    /// The canonical bytes, to be submitted; nothing if they are more than may be.
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        let bytes = codec::encode(self);
        (bytes.len() <= Evidence::MAX_BYTES).then_some(bytes)
    }

    /// Whom it accuses: the chain, the epoch of the era, and the member.
    pub fn accused(&self) -> (ChainId, Epoch, Member) {
        match self {
            Evidence::Equivocation(pair) => {
                let statement = &pair.first.statement;
                (statement.chain, statement.epoch, statement.sender)
            }
            Evidence::Conflict(conflict) => conflict.accused(),
        }
    }

    /// Whether it proves an offence, where `keys` tells who held a seat and with which key.
    ///
    /// # Errors
    /// Why it does not.
    pub fn verify(
        &self,
        network: NetworkId,
        keys: impl Fn(ChainId, Epoch, Member) -> Option<(ValidatorId, PublicKey)>,
    ) -> Result<Guilty, InvalidEvidence> {
        let found = borsh::object_length(self).unwrap_or(usize::MAX);
        if found > Evidence::MAX_BYTES {
            return Err(InvalidEvidence::TooLong { found, limit: Evidence::MAX_BYTES });
        }
        match self {
            Evidence::Equivocation(pair) => pair.verify(network, keys),
            Evidence::Conflict(conflict) => conflict.verify(network, keys),
        }
    }
}

impl Equivocation {
    /// The pair in its one order.
    pub fn of(a: SignedMessage, b: SignedMessage, network: NetworkId) -> Equivocation {
        if a.statement.id(network) <= b.statement.id(network) {
            Equivocation { first: a, second: b }
        } else {
            Equivocation { first: b, second: a }
        }
    }

    /// Whether the sender said both; of any length, as peers tell each other.
    ///
    /// # Errors
    /// Why it proves nothing.
    pub fn verify(
        &self,
        network: NetworkId,
        keys: impl Fn(ChainId, Epoch, Member) -> Option<(ValidatorId, PublicKey)>,
    ) -> Result<Guilty, InvalidEvidence> {
        let (a, b) = (&self.first.statement, &self.second.statement);
        if (a.chain, a.epoch, a.root) != (b.chain, b.epoch, b.root) {
            return Err(InvalidEvidence::DifferentEras);
        }
        if a.sender != b.sender {
            return Err(InvalidEvidence::DifferentMembers { first: a.sender, second: b.sender });
        }
        if a.seq != b.seq {
            return Err(InvalidEvidence::DifferentSeq { first: a.seq, second: b.seq });
        }
        let ids = (a.id(network), b.id(network));
        in_order(&ids.0, &ids.1)?;
        let seat = (a.chain, a.epoch, a.sender);
        let signed = [(Hash(ids.0.0), self.first.signature), (Hash(ids.1.0), self.second.signature)];
        let validator = signed_by(seat, &signed, keys)?;
        let offence = Offence::Equivocation { seq: a.seq };
        Ok(Guilty { validator, member: a.sender, chain: a.chain, epoch: a.epoch, root: a.root, offence })
    }
}

impl Conflict {
    /// Headers between the two at most.
    pub const MAX_PATH: u64 = 128;

    /// The evidence in two signatures; `header` gives the headers that lead down from the upper one. Nothing if they
    /// conflict with nothing, headers are missing, or the path is too long.
    pub fn of(
        a: &FinalitySignature,
        b: &FinalitySignature,
        mut header: impl FnMut(&BlockId) -> Option<Header>,
    ) -> Option<Conflict> {
        let place = |share: &FinalitySignature| (share.finality.height, share.finality.block);
        let (first, second) = if place(a) <= place(b) { (a, b) } else { (b, a) };
        let era = |share: &FinalitySignature| (share.finality.chain, share.finality.epoch, share.finality.root);
        if (first.signer, era(first)) != (second.signer, era(second)) || place(first) == place(second) {
            return None;
        }
        let (low, high) = (first.finality.height.0, second.finality.height.0);
        if high - low > Conflict::MAX_PATH {
            return None;
        }
        let mut at = second.finality.block;
        let mut path = Vec::new();
        for _ in low..high {
            let header = header(&at)?;
            at = header.parent;
            path.push(header);
        }
        if low < high && at == first.finality.block {
            return None;
        }
        path.reverse();
        let conflict = Conflict { first: first.clone(), second: second.clone(), path };
        // One byte more for what kind of evidence it is.
        let length = borsh::object_length(&conflict).unwrap_or(usize::MAX);
        (length < Evidence::MAX_BYTES).then_some(conflict)
    }

    /// Whom it accuses: the chain, the epoch of the era, and the member.
    pub fn accused(&self) -> (ChainId, Epoch, Member) {
        (self.first.finality.chain, self.first.finality.epoch, self.first.signer)
    }

    /// Whether the signer gave both signatures and no chain can hold both blocks.
    ///
    /// # Errors
    /// Why it proves nothing.
    pub fn verify(
        &self,
        network: NetworkId,
        keys: impl Fn(ChainId, Epoch, Member) -> Option<(ValidatorId, PublicKey)>,
    ) -> Result<Guilty, InvalidEvidence> {
        let (a, b) = (&self.first.finality, &self.second.finality);
        let signer = self.first.signer;
        if (a.chain, a.epoch, a.root) != (b.chain, b.epoch, b.root) {
            return Err(InvalidEvidence::DifferentEras);
        }
        if signer != self.second.signer {
            return Err(InvalidEvidence::DifferentMembers { first: signer, second: self.second.signer });
        }
        in_order(&(a.height, a.block), &(b.height, b.block))?;
        let needed = b.height.0 - a.height.0;
        let found = self.path.len();
        if needed > Conflict::MAX_PATH || found as u64 != needed {
            return Err(InvalidEvidence::PathLength { found, needed, limit: Conflict::MAX_PATH });
        }
        let signed = [(a.id(network), self.first.signature), (b.id(network), self.second.signature)];
        let validator = signed_by((a.chain, a.epoch, signer), &signed, keys)?;
        let mut at = *b;
        for (position, header) in self.path.iter().enumerate().rev() {
            let era = (header.chain, header.epoch, header.root);
            if era != (a.chain, a.epoch, a.root) || header.height != at.height || header.id(network) != at.block {
                return Err(InvalidEvidence::Path { position });
            }
            (at.block, at.height) = (header.parent, Height(at.height.0 - 1));
        }
        if needed > 0 && at.block == a.block {
            return Err(InvalidEvidence::OneChain);
        }
        let offence = Offence::ConflictingFinality { low: a.height, high: b.height };
        Ok(Guilty { validator, member: signer, chain: a.chain, epoch: a.epoch, root: a.root, offence })
    }
}

fn in_order<T: Ord>(first: &T, second: &T) -> Result<(), InvalidEvidence> {
    match first.cmp(second) {
        std::cmp::Ordering::Less => Ok(()),
        std::cmp::Ordering::Equal => Err(InvalidEvidence::Same),
        std::cmp::Ordering::Greater => Err(InvalidEvidence::Order),
    }
}

/// The holder of a seat, if it gave both signatures.
fn signed_by(
    seat: (ChainId, Epoch, Member),
    signed: &[(Hash, Signature); 2],
    keys: impl Fn(ChainId, Epoch, Member) -> Option<(ValidatorId, PublicKey)>,
) -> Result<ValidatorId, InvalidEvidence> {
    let (chain, epoch, member) = seat;
    let (validator, key) = keys(chain, epoch, member).ok_or(InvalidEvidence::UnknownSeat { chain, epoch, member })?;
    for (position, (id, signature)) in (0u8..).zip(signed) {
        key.verify(id, signature).map_err(|_| InvalidEvidence::Signature { position })?;
    }
    Ok(validator)
}

/// Reads a path; one that is too long is refused before its headers are read.
fn read_path<R: Read>(reader: &mut R) -> borsh::io::Result<Vec<Header>> {
    let length = u32::deserialize_reader(reader)?;
    if u64::from(length) > Conflict::MAX_PATH {
        return Err(Error::new(ErrorKind::InvalidData, "more headers than a path may have"));
    }
    (0..length).map(|_| Header::deserialize_reader(reader)).collect()
}

#[cfg(test)]
mod tests;
