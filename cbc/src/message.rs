//! Messages and what they cite.

use crate::forkchoice::Protocol;
use crate::ids::{Member, MessageId, Slot};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What an advance says about one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Cite {
    /// Its latest message seen now is this many further along its thread, 1 at least. From nothing seen, its message 0
    /// is 1 ahead.
    Ahead(u64),
    /// It equivocated; evidence is held.
    Faulty,
}

/// What a justification says about one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Observation {
    /// No message seen.
    Nothing,
    /// The latest message seen.
    Latest(MessageId),
    /// Evidence of equivocation held.
    Faulty,
}

/// A consensus message, without its signature and era (the caller checks those).
#[derive(Clone, Debug)]
pub struct Message<P: Protocol> {
    /// Hash of the unsigned canonical bytes.
    pub id: MessageId,
    /// Who says it.
    pub sender: Member,
    /// Position in the sender's thread, from 0.
    pub seq: u64,
    /// When it was said.
    pub slot: Slot,
    /// The newest certified candidate its sender knew.
    pub base: P::Base,
    /// What the justification adds to the closure of the sender's previous message, or to nothing when that one is
    /// older than the base. Sorted by member, without duplicates and without the sender: its previous message is
    /// always cited.
    pub advances: Vec<(Member, Cite)>,
    /// [`cites_digest`] of the full justification.
    pub cites: [u8; 32],
    /// What the message supports.
    pub estimate: P::Estimate,
}

impl<P: Protocol> PartialEq for Message<P> {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
            && self.sender == other.sender
            && self.seq == other.seq
            && self.slot == other.slot
            && self.base == other.base
            && self.advances == other.advances
            && self.cites == other.cites
            && self.estimate == other.estimate
    }
}

/// Domain tag of [`cites_digest`], zero-padded to 16 bytes.
pub const CITES_TAG: [u8; 16] = *b"kakera/cites\0\0\0\0";

/// SHA-256 over the tag and, member by member, `00` (nothing), `01` and the id, or `02` (faulty).
#[must_use]
pub fn cites_digest(observations: &[Observation]) -> [u8; 32] {
    let mut bytes = Vec::with_capacity(CITES_TAG.len() + observations.len() * 33);
    bytes.extend_from_slice(&CITES_TAG);
    for observation in observations {
        match observation {
            Observation::Nothing => bytes.push(0),
            Observation::Latest(id) => {
                bytes.push(1);
                bytes.extend_from_slice(&id.0);
            }
            Observation::Faulty => bytes.push(2),
        }
    }
    Sha256::digest(&bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cites_digest_golden() {
        let list = [Observation::Nothing, Observation::Latest(MessageId([7; 32])), Observation::Faulty];
        let mut bytes = b"kakera/cites\0\0\0\0\x00\x01".to_vec();
        bytes.extend_from_slice(&[7; 32]);
        bytes.push(2);
        assert_eq!(cites_digest(&list), <[u8; 32]>::from(Sha256::digest(&bytes)));
        assert_eq!(MessageId(cites_digest(&list)).to_string(), GOLDEN);
    }

    const GOLDEN: &str = "85d85a465cc4d8198f25741b68097664c267aacc9600436b798bde33298013b8";
}
