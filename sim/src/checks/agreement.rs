//! No two honest nodes finalize conflicting blocks of one chain: neither by certificates nor by their own detectors.
//!
//! Where a scenario lets too many members be faulty, agreement may break; then whoever broke it must be shown by what
//! honest nodes hold: two messages of one place, or signatures under two blocks of one height, of more than the
//! threshold's weight.

use super::{Check, Happening, View};
use kakera_chain::{
    BlockId, Member,
    peer::PeerMessage,
    replica::Breach,
    store::{Store, Table},
    units::{ChainId, Epoch, Height},
};
use std::collections::{BTreeMap, BTreeSet};

/// Statement 2.
#[derive(Default)]
pub(super) struct Agreement {
    /// By chain, era and height. Two eras have the same root where nothing of the first one was recorded.
    final_blocks: BTreeMap<(ChainId, Epoch, BlockId, Height), BlockId>,
    /// Who signed what as final, as far as honest nodes said or hold it.
    signed: BTreeMap<(ChainId, Height, Member), BTreeSet<BlockId>>,
    broken: bool,
}

impl Check for Agreement {
    fn name(&self) -> &'static str {
        "agreement"
    }

    fn after(&mut self, view: &View<'_>, happening: &Happening<'_>) -> Result<(), String> {
        let (node, chain, era, height, id, how) = match happening {
            Happening::Beacon { node, certified } => {
                let header = &certified.block.header;
                (*node, header.chain, (header.epoch, header.root), header.height, certified.id, "certified")
            }
            Happening::Shard { node, certified } => {
                let header = &certified.block.header;
                (*node, header.chain, (header.epoch, header.root), header.height, certified.id, "certified")
            }
            Happening::Said { node, message: PeerMessage::Finality(share) } => {
                let finality = &share.finality;
                if view.scenario.expect.may_break_with_evidence {
                    let place = (finality.chain, finality.height, share.signer);
                    self.signed.entry(place).or_default().insert(finality.block);
                }
                let signer = view.eras.validator(finality.chain, finality.epoch, finality.root, share.signer);
                if signer != Some(view.nodes[*node].validator) {
                    return Ok(());
                }
                let era = (finality.epoch, finality.root);
                (*node, finality.chain, era, finality.height, finality.block, "signed as final")
            }
            Happening::Halted { node, breach } if view.nodes[*node].is_honest() => {
                return self.halted(view, *node, breach);
            }
            _ => return Ok(()),
        };
        let first = *self.final_blocks.entry((chain, era.0, era.1, height)).or_insert(id);
        if first == id || self.broken {
            return Ok(());
        }
        let what = format!("{} {how} {id} at height {height} of {chain}, others {first}", view.name(node));
        self.break_with_evidence(view, chain, what)
    }

    fn is_broken(&self) -> bool {
        self.broken
    }
}

impl Agreement {
    /// A replica stops where what it holds as final contradicts itself: the same break, seen by one node.
    fn halted(&mut self, view: &View<'_>, node: usize, breach: &Breach) -> Result<(), String> {
        let conflict = matches!(
            breach,
            Breach::ConflictingCertificates { .. }
                | Breach::ConflictingFinality { .. }
                | Breach::CertifiedAgainstFinality { .. }
        );
        if !conflict || self.broken {
            return Ok(());
        }
        self.break_with_evidence(view, view.nodes[node].chain, format!("{} halted: {breach}", view.name(node)))
    }

    /// A break is allowed where the scenario says so and the evidence weighs enough.
    fn break_with_evidence(&mut self, view: &View<'_>, chain: ChainId, what: String) -> Result<(), String> {
        if !view.scenario.expect.may_break_with_evidence {
            return Err(what);
        }
        let committee = &view.setup.seats(chain).committee;
        let guilty = self.guilty(view, chain);
        let weight: u64 = guilty.iter().map(|member| committee.weight(*member)).sum();
        if weight <= committee.threshold() {
            return Err(format!("{what}; there is evidence against a weight of {weight} only"));
        }
        let honest = |member: &&Member| {
            let validator = view.setup.seats(chain).validators.get(member.index());
            let is_it = |node: &crate::node::Node| node.chain == chain && Some(&node.validator) == validator;
            view.nodes.iter().any(|node| is_it(node) && node.is_honest())
        };
        if let Some(member) = guilty.iter().find(honest) {
            return Err(format!("{what}; there is evidence against honest member {member}"));
        }
        self.broken = true;
        Ok(())
    }

    /// Members that said two things of one place, by all that honest nodes of the chain hold together.
    fn guilty(&self, view: &View<'_>, chain: ChainId) -> BTreeSet<Member> {
        let mut guilty = BTreeSet::new();
        let mut said: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        let mut signed = self.signed.clone();
        for node in view.nodes.iter().filter(|node| node.chain == chain && node.is_honest()) {
            let rows = node.disk.scan(Table::Threads, &[], usize::MAX).unwrap_or_default();
            for (key, id) in rows {
                // Member and `seq`; the rest is when it came.
                let (Some(place), Some(member)) = (key.get(..10), key.get(..2)) else { continue };
                let first = said.entry(place.to_vec()).or_insert_with(|| id.clone());
                if *first != id {
                    guilty.insert(Member(u16::from_be_bytes([member[0], member[1]])));
                }
            }
            let certificates = node.disk.scan(Table::Certificates, &[], usize::MAX).unwrap_or_default();
            for (_, bytes) in certificates {
                let decoded =
                    kakera_chain::codec::decode::<kakera_chain::certificate::Certificate>(&bytes, bytes.len());
                let Ok(certificate) = decoded else { continue };
                let finality = certificate.finality;
                for (member, _) in certificate.signatures {
                    signed.entry((chain, finality.height, member)).or_default().insert(finality.block);
                }
            }
        }
        let twice = signed.iter().filter(|((of, ..), blocks)| *of == chain && blocks.len() > 1);
        guilty.extend(twice.map(|((_, _, member), _)| *member));
        guilty
    }
}
