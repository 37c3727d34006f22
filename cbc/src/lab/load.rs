//! Loading: a case's names resolved, its messages in a DAG.

use super::case::{CASE_CELLS, Case, CaseError, CaseMessage, CaseView, ROOT};
use super::free::{FreeDag, ROOT_BLOCK, block_of, ranked};
use crate::committee::Committee;
use crate::detector::Support;
use crate::ids::Member;
use std::collections::{BTreeMap, BTreeSet};

/// A case in a DAG: message i of the case has index i + 1 there.
pub(super) struct Lab<'a> {
    pub(super) case: &'a Case,
    pub(super) free: FreeDag,
    /// Places of messages whose parent is not the fork choice of their own justification.
    pub(super) unjustified: Vec<usize>,
    places: BTreeMap<&'a str, usize>,
}

/// The index in the DAG of the message at a place in the case.
pub(super) fn index(place: usize) -> u32 {
    u32::try_from(place + 1).expect("CASE_CELLS bounds the messages")
}

impl<'a> Lab<'a> {
    pub(super) fn load(case: &'a Case) -> Result<Self, CaseError> {
        let (validators, messages) = (case.validators.len(), case.messages.len());
        if validators.checked_mul(messages).is_none_or(|cells| cells > CASE_CELLS) {
            return Err(CaseError::TooLarge { validators, messages });
        }
        let committee = Committee::new(case.validators.iter().map(|v| v.weight).collect())?;
        let mut members = BTreeMap::new();
        for (member, validator) in committee.members().zip(&case.validators) {
            let name = validator.name.to_string();
            if members.insert(name.clone(), member).is_some() {
                return Err(CaseError::ValidatorTwice { name });
            }
        }
        let mut ranks: BTreeMap<&str, usize> = BTreeMap::new();
        for message in &case.messages {
            if message.id == ROOT || ranks.insert(&message.id, 0).is_some() {
                return Err(CaseError::MessageTwice { id: message.id.clone() });
            }
        }
        ranks.values_mut().zip(1..).for_each(|(rank, next)| *rank = next);
        let free = FreeDag::new(committee);
        let mut lab = Self { case, free, places: BTreeMap::new(), unjustified: Vec::new() };
        for (place, message) in case.messages.iter().enumerate() {
            let id = ranked(ranks[message.id.as_str()]);
            lab.add(place, message, id, &members)?;
        }
        Ok(lab)
    }

    /// The place in the case of the message of this name, loaded so far.
    pub(super) fn place(&self, id: &str) -> Result<usize, CaseError> {
        let place = self.places.get(id).copied();
        place.ok_or_else(|| CaseError::UnknownMessage { id: id.to_owned() })
    }

    fn add(
        &mut self,
        place: usize,
        message: &'a CaseMessage,
        id: [u8; 32],
        members: &BTreeMap<String, Member>,
    ) -> Result<(), CaseError> {
        let member_of = |name: &str| {
            let member = members.get(name).copied();
            member.ok_or_else(|| CaseError::UnknownValidator { name: name.to_owned() })
        };
        let sender = member_of(&message.sender.to_string())?;
        let mut cited = Vec::with_capacity(message.justification.len());
        for (validator, seen) in &message.justification {
            let at = index(self.place(seen)?);
            if self.free.sender(at) != member_of(validator)? {
                return Err(CaseError::WrongSender {
                    id: message.id.clone(),
                    cited: seen.clone(),
                    validator: validator.clone(),
                });
            }
            cited.push(at);
        }
        let parent = match message.parent.as_str() {
            ROOT => ROOT_BLOCK,
            parent => block_of(index(self.place(parent)?)),
        };
        let row = self.free.closure(&cited);
        if self.free.ghost(&row) != parent {
            self.unjustified.push(place);
        }
        self.free.add(sender, id, cited, row, parent);
        self.places.insert(&message.id, place);
        Ok(())
    }

    /// The messages that a view holds: delivered, with all they cite; in the case's order.
    pub(super) fn held(&self, view: &CaseView) -> Result<Vec<u32>, CaseError> {
        let mut delivered = BTreeSet::new();
        for id in &view.delivery_order {
            delivered.insert(index(self.place(id)?));
        }
        let mut held = BTreeSet::new();
        for at in delivered {
            if self.free.cited(at).iter().all(|cited| held.contains(cited)) {
                held.insert(at);
            }
        }
        Ok(held.into_iter().collect())
    }

    /// The name of a message.
    pub(super) fn name(&self, at: u32) -> &'a str {
        &self.case.messages[at as usize - 1].id
    }

    /// The name of a block: of the message that it is, or of the root.
    pub(super) fn block_name(&self, block: u32) -> &'a str {
        if block == ROOT_BLOCK { ROOT } else { self.name(block - 1) }
    }

    /// A view looked at for a candidate block.
    pub(super) fn support(&self, row: &[u32], block: u32) -> Support<'_> {
        let agrees = |vote| self.free.tree.descends(vote, block);
        Support::new(&self.free.dag, &self.free.committee, row, &agrees)
    }

    /// The level at which a view finalizes a block at the committee's own threshold, if it does.
    pub(super) fn finality(&self, row: &[u32], block: u32) -> Option<u32> {
        let support = self.support(row, block);
        let committee = &self.free.committee;
        (1..=committee.levels()).find(|level| {
            let quorum = committee.quorum(*level);
            quorum.is_some_and(|quorum| support.weight() >= quorum && support.is_summit(quorum, *level))
        })
    }

    /// The deepest final block of a view, whose head is given; the root if there is none.
    ///
    /// What is final has most of the honest weight, so it lies on the way to the head, and all above
    /// it are final too.
    pub(super) fn finalized(&self, row: &[u32], head: u32) -> u32 {
        let path = self.free.path(head);
        let count = path.partition_point(|block| self.finality(row, *block).is_some());
        count.checked_sub(1).map_or(ROOT_BLOCK, |last| path[last])
    }
}
