//! Messages made real: an estimate, an id from the content, and a size on the wire.

use crate::{
    BlockEstimate, BlockId, Blocks, Cite, Draft, Engine, Invalid, Member, Message, MessageId, Missing, NewBlock, Row,
    Slot, Verdict,
};
use sha2::{Digest, Sha256};
use thiserror::Error;

/// Why a message cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unsayable {
    /// The rules refuse it.
    #[error("the rules refuse it: {0}")]
    Refused(#[from] Invalid),
    /// Its own engine lacks something that it cites.
    #[error("its sender lacks what it cites")]
    Lacking,
}

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// The same message under the id that follows from its content.
#[must_use]
pub fn named(mut message: Message<Blocks>) -> Message<Blocks> {
    let Message { sender, seq, slot, base, advances, cites, estimate, .. } = &message;
    let body = format!("{sender:?} {seq} {slot:?} {base} {advances:?} {cites:?} {estimate:?}");
    message.id = MessageId(hash(&[body.as_bytes()]));
    message
}

/// About how many bytes a message takes on the wire, with its signature: fixed fields, a bit map of those cited one
/// further, some two bytes for each other advance, and a block's header for a proposal.
#[must_use]
pub fn message_bytes(message: &Message<Blocks>) -> u64 {
    const FIXED: u64 = 162 + 64;
    let one_ahead = |(_, cite): &&(Member, Cite)| *cite == Cite::Ahead(1);
    let map = message.advances.iter().filter(one_ahead).map(|(member, _)| member.index() / 8 + 1).max();
    let others = message.advances.len() - message.advances.iter().filter(one_ahead).count();
    let block = match message.estimate {
        BlockEstimate::Proposal(_) => 300,
        BlockEstimate::Vote(_) => 0,
    };
    FIXED + block + (map.unwrap_or(0) + 2 * others) as u64
}

/// A message from a draft; `salt` tells blocks of one leader and slot apart.
pub(super) fn from_draft(
    engine: &Engine<Blocks>,
    draft: &Draft<Blocks>,
    propose: Option<u64>,
) -> Option<Message<Blocks>> {
    let estimate = match propose {
        None => BlockEstimate::Vote(draft.value),
        Some(salt) => {
            let Draft { value: parent, slot, sender, .. } = *draft;
            let height = engine.protocol().block(&parent)?.height.checked_add(1)?;
            let content = [&parent.0[..], &slot.0.to_be_bytes(), &sender.0.to_be_bytes(), &salt.to_be_bytes()];
            BlockEstimate::Proposal(NewBlock { id: BlockId(hash(&content)), parent, height, slot })
        }
    };
    Some(named(Message {
        id: MessageId([0; 32]),
        sender: draft.sender,
        seq: draft.seq,
        slot: draft.slot,
        base: draft.base,
        advances: draft.advances.clone(),
        cites: draft.cites,
        estimate,
    }))
}

/// The next message of an engine's member, checked by its own rules; the engine is left as it was.
pub(super) fn draft(
    engine: &Engine<Blocks>,
    slot: Slot,
    base: BlockId,
    row: &Row,
    propose: Option<u64>,
) -> Result<crate::Checked<Blocks>, Unsayable> {
    let draft = engine.draft(slot, base, row);
    let message = from_draft(engine, &draft, propose).ok_or(Unsayable::Lacking)?;
    let verdict = match engine.check(slot, &message) {
        Verdict::Waiting(Missing::FullCites(_)) => engine.check_full(slot, &message, &engine.resolve(&draft.row)),
        other => other,
    };
    match verdict {
        Verdict::Valid(checked) => Ok(checked),
        Verdict::Invalid(reason) => Err(reason.into()),
        Verdict::Known | Verdict::Waiting(_) => Err(Unsayable::Lacking),
    }
}

/// A short name of a block for logs.
pub(super) fn short(block: &BlockId) -> String {
    block.0[..3].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A member's name in logs.
pub(super) fn named_member(member: Option<Member>) -> String {
    member.map_or_else(|| "an observer".to_owned(), |member| format!("member {member}"))
}
