//! How a replica's records are laid out in the store.

use crate::{
    codec,
    evidence::Evidence,
    message::SignedMessage,
    peer::CiteEntry,
    store::{Store, StoreFailure, Table},
    units::Height,
};
use borsh::{BorshDeserialize, BorshSerialize};
use kakera_cbc::{BlockId, Member, MessageId, Observation};

/// Key of the last certified block's height and id.
pub(super) const CERTIFIED: &[u8] = b"replica/certified";
/// Key of the greatest height and the id that this member signed as final.
pub(super) const OWN_FINALITY: &[u8] = b"replica/own-finality";
/// Key of the stretches of messages that were taken with a lower pruning line than usual.
pub(super) const PHASES: &[u8] = b"replica/phases";
/// Key of the era.
pub(super) const ERA: &[u8] = b"replica/era";
/// Key of the epoch in whose era this replica takes certified blocks and has no part any more.
pub(super) const FOLLOWS: &[u8] = b"replica/follows";
/// Key of the proof that this era is over, as long as its last block is not held.
pub(super) const CLOSED: &[u8] = b"replica/closed";
/// Bytes of the epoch before the key of evidence of an earlier era.
const EPOCH_BYTES: usize = 8;
/// Key of the running totals.
pub(super) const TOTALS: &[u8] = b"replica/totals";

/// Key of a thread's entry: member, `seq` and insertion number, so that equivocations stand side by side.
pub(super) fn thread_key(member: Member, seq: u64, number: u64) -> Vec<u8> {
    [&member.0.to_be_bytes()[..], &seq.to_be_bytes(), &number.to_be_bytes()].concat()
}

/// Key of the evidence of a member's conflicting finality signatures; that of its equivocation is the member alone.
pub(super) fn conflict_key(member: Member) -> Vec<u8> {
    [&member.0.to_be_bytes()[..], &[1]].concat()
}

/// The member and insertion number of a thread's entry.
pub(super) fn thread_entry(key: &[u8]) -> Option<(Member, u64)> {
    let member = u16::from_be_bytes(key.get(..2)?.try_into().ok()?);
    let number = u64::from_be_bytes(key.get(10..18)?.try_into().ok()?);
    Some((Member(member), number))
}

pub(super) fn load<T: BorshDeserialize + BorshSerialize>(
    store: &dyn Store,
    table: Table,
    key: &[u8],
) -> Result<Option<T>, StoreFailure> {
    let Some(bytes) = store.load(table, key)? else { return Ok(None) };
    let damaged = |error: codec::InvalidBytes| StoreFailure { table, reason: error.to_string() };
    codec::decode(&bytes, usize::MAX).map(Some).map_err(damaged)
}

pub(super) fn load_message(store: &dyn Store, id: &MessageId) -> Result<Option<SignedMessage>, StoreFailure> {
    match store.load(Table::MessageIds, &id.0)? {
        Some(number) => load(store, Table::Messages, &number),
        None => Ok(None),
    }
}

/// The whole justification of a message whose advances alone do not tell it.
pub(super) fn load_cites(store: &dyn Store, id: &MessageId) -> Result<Option<Vec<Observation>>, StoreFailure> {
    let entries: Option<Vec<CiteEntry>> = load(store, Table::Cites, &id.0)?;
    Ok(entries.map(|entries| entries.iter().map(Observation::from).collect()))
}

/// The messages stored at one place: several only after equivocation.
pub(super) fn load_at(store: &dyn Store, member: Member, seq: u64) -> Result<Vec<SignedMessage>, StoreFailure> {
    const TWINS: usize = 4;
    let from = thread_key(member, seq, 0);
    let rows = store.scan(Table::Threads, &from, TWINS)?;
    let numbers = rows.iter().take_while(|(key, _)| key.get(..10) == from.get(..10));
    let numbers = numbers.filter_map(|(key, _)| key.get(10..18));
    numbers.filter_map(|number| load(store, Table::Messages, number).transpose()).collect()
}

/// A row of evidence; the key begins with the member.
pub(super) fn evidence(key: &[u8], bytes: &[u8]) -> Result<Evidence, StoreFailure> {
    let damaged = |error: codec::InvalidBytes| StoreFailure { table: Table::Evidence, reason: error.to_string() };
    let evidence = match key.len() {
        2 => codec::decode(bytes, usize::MAX).map(|pair| Evidence::Equivocation(Box::new(pair))),
        _ => codec::decode(bytes, usize::MAX).map(|conflict| Evidence::Conflict(Box::new(conflict))),
    };
    evidence.map_err(damaged)
}

/// The evidence stored of the present era: two pieces a member at most.
pub(super) fn load_evidence(store: &dyn Store) -> Result<Vec<Evidence>, StoreFailure> {
    let rows = store.scan(Table::Evidence, &[], 2 * usize::from(u16::MAX))?;
    rows.iter().map(|(key, bytes)| evidence(key, bytes)).collect()
}

/// That of earlier eras, as far as the beacon still takes it. Members are counted anew in each era: it says nothing about
/// those of the present one.
pub(super) fn load_past_evidence(store: &dyn Store) -> Result<Vec<Evidence>, StoreFailure> {
    let rows = store.scan(Table::PastEvidence, &[], usize::MAX)?;
    rows.iter().map(|(key, bytes)| evidence(key.get(EPOCH_BYTES..).unwrap_or_default(), bytes)).collect()
}

pub(super) fn certified_id(store: &dyn Store, height: Height) -> Result<Option<BlockId>, StoreFailure> {
    load(store, Table::Heights, &height.0.to_be_bytes())
}
