//! Messages of peers that the replica refuses, counted by reason.

use kakera_chain::replica::Refused;
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

/// How often peers' messages were refused, by reason.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<BTreeMap<&'static str, u64>>);

impl Refusals {
    /// Counts one.
    pub fn count(&self, reason: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(reason).or_default() += 1;
    }

    /// All counts.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A refusal's name in the metrics: one of a few, whatever a peer says.
pub(super) fn kind(reason: &Refused) -> &'static str {
    match reason {
        Refused::OtherEra => "other_era",
        Refused::Signature => "signature",
        Refused::Block => "block",
        Refused::Header => "header",
        Refused::Content => "content",
        Refused::Closed => "closed",
        Refused::Message(_) => "message",
        Refused::Certificate(_) => "certificate",
        Refused::Evidence => "evidence",
        Refused::Length { .. } => "length",
        Refused::Full => "full",
    }
}
