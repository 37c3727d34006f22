//! Forged certificates, shares, crosslinks and beacon feeds; blocks that claim what is not so.

use super::Scene;
use crate::random::Random;
use kakera_chain::{
    BlockId, Member,
    application::CertifiedBlocks,
    block::Block,
    certificate::{Certificate, Finality, FinalitySignature},
    codec,
    crosslink::Crosslink,
    hash::Hash,
    keys::{SecretKey, Signature},
    message::{Estimate, SignedMessage},
    peer::{Carried, PeerMessage},
    receipt::ReceiptAction,
    units::{ChainId, Epoch, Height, ShardId},
};

/// Any bytes.
pub(super) fn hash(random: &mut Random) -> Hash {
    Hash::of(&[&random.number().to_le_bytes()])
}

fn signed_by(finality: &Finality, keys: &[(Member, SecretKey)], scene: &Scene<'_>) -> Vec<(Member, Signature)> {
    let id = finality.id(scene.setup.network.id);
    keys.iter().map(|(member, key)| (*member, key.sign(&id))).collect()
}

/// Something that looks like finality of what `finality` says, and what it is called.
pub(super) fn finality(
    finality: Finality,
    colluders: &[(Member, SecretKey)],
    scene: &Scene<'_>,
    random: &mut Random,
) -> (&'static str, PeerMessage) {
    let mut finality = finality;
    let invented = BlockId(hash(random).0);
    let members = scene.seats.keys.len();
    let everybody = |signature: Signature| (0..members).map(|index| (member(index), signature)).collect::<Vec<_>>();
    let certificate = |finality, signatures| PeerMessage::Certificate(Box::new(Certificate { finality, signatures }));
    let own = signed_by(&finality, &[(scene.me, scene.key.clone())], scene);
    match random.below(10) {
        0 => ("certificate of too few", certificate(finality, signed_by(&finality, colluders, scene))),
        1 => ("certificate of one signature for all", certificate(finality, everybody(own[0].1))),
        2 => ("certificate of one signer many times", certificate(finality, vec![own[0]; members])),
        3 => {
            finality.chain = match finality.chain {
                ChainId::Beacon => ChainId::Shard(ShardId(0)),
                ChainId::Shard(_) => ChainId::Beacon,
            };
            ("certificate of another chain", certificate(finality, signed_by(&finality, colluders, scene)))
        }
        4 => {
            finality.epoch = Epoch(finality.epoch.0 + 1);
            ("certificate of another epoch", certificate(finality, signed_by(&finality, colluders, scene)))
        }
        5 => {
            finality.block = invented;
            ("certificate of an invented block", certificate(finality, signed_by(&finality, colluders, scene)))
        }
        6 => {
            // All colluders sign, and the others' signatures are invented.
            finality.block = invented;
            let mut signatures = everybody(Signature([9; 64]));
            for (member, signature) in signed_by(&finality, colluders, scene) {
                signatures[member.index()].1 = signature;
            }
            ("certificate with invented signatures", certificate(finality, signatures))
        }
        7 => {
            let mut signatures = signed_by(&finality, colluders, scene);
            signatures.push((member(members + 3), own[0].1));
            ("certificate of a stranger", certificate(finality, signatures))
        }
        8 => {
            finality.height = Height(finality.height.0 + random.between(1, 300));
            finality.block = invented;
            let share = FinalitySignature::sign(finality, scene.me, scene.key, scene.setup.network.id);
            ("share of what will never be", PeerMessage::Finality(share))
        }
        _ => {
            let mut share = FinalitySignature::sign(finality, scene.me, scene.key, scene.setup.network.id);
            share.signer = member(random.index(members));
            ("share in another's name", PeerMessage::Finality(share))
        }
    }
}

/// A second share of the own height, of another block.
pub(super) fn conflicting_share(finality: Finality, scene: &Scene<'_>, random: &mut Random) -> PeerMessage {
    let finality = Finality { block: BlockId(hash(random).0), ..finality };
    PeerMessage::Finality(FinalitySignature::sign(finality, scene.me, scene.key, scene.setup.network.id))
}

fn member(index: usize) -> Member {
    Member(u16::try_from(index).unwrap_or(u16::MAX))
}

/// The own proposal changed and signed again, and what was changed.
pub(super) fn proposal(carried: &Carried, scene: &Scene<'_>, random: &mut Random) -> Option<(&'static str, Carried)> {
    let mut block = Block::decode(carried.block.as_ref()?).ok()?;
    let mut statement = carried.message.statement.clone();
    let header = &mut block.header;
    let what = match random.below(11) {
        0 => {
            header.state_root = hash(random);
            "proposal of another state"
        }
        1 => {
            header.figures.balances = header.figures.balances.wrapping_add(random.between(1, 1 << 40));
            "proposal of higher balances"
        }
        2 => {
            header.figures.received = header.figures.received.wrapping_add(1);
            header.figures.balances = header.figures.balances.wrapping_add(1);
            "proposal that received more"
        }
        3 => {
            header.outbox_root = hash(random);
            "proposal of other receipts"
        }
        4 => {
            header.reference.id = BlockId(hash(random).0);
            "proposal with a forged reference"
        }
        5 => {
            header.reference.height = Height(u64::MAX);
            "proposal with a reference of the far future"
        }
        6 => {
            block.body.push(vec![1, 2, 3]);
            "proposal with another body"
        }
        7 => {
            block.body.push(vec![1, 2, 3]);
            block.witnesses.push(vec![0; 64]);
            header.body_root = kakera_chain::hash::merkle_root(&block.body);
            header.witness_root = kakera_chain::hash::merkle_root(&block.witnesses);
            "proposal with an item of rubbish"
        }
        8 => {
            header.height = Height(header.height.0 + 1);
            "proposal whose header disagrees"
        }
        9 => {
            header.figures.inbox.pop();
            header.figures.gas_used = header.figures.gas_used.wrapping_add(1);
            "proposal of other figures"
        }
        _ => {
            return Some(("proposal without its block", Carried { block: None, ..carried.clone() }));
        }
    };
    if let Estimate::Proposal { block: id, .. } = &mut statement.estimate {
        *id = block.header.id(scene.setup.network.id);
    }
    let message = SignedMessage::sign(statement, scene.key, scene.setup.network.id);
    Some((what, Carried { message, block: Some(codec::encode(&block)), certificate: carried.certificate.clone() }))
}

/// A crosslink changed, and how.
pub(super) fn crosslink(
    crosslink: &Crosslink,
    colluders: &[(Member, SecretKey)],
    scene: &Scene<'_>,
    random: &mut Random,
) -> (&'static str, Crosslink) {
    let mut forged = crosslink.clone();
    let kind = random.below(9);
    let what = match kind {
        0 => {
            forged.certificate.signatures.truncate(1);
            "crosslink with too few signatures"
        }
        1 => {
            forged.certificate.signatures.iter_mut().for_each(|(_, signature)| signature.0[7] ^= 1);
            "crosslink with wrong signatures"
        }
        2 => {
            if let Some(first) = forged.certificate.signatures.first().copied() {
                forged.certificate.signatures = vec![first; forged.certificate.signatures.len()];
            }
            "crosslink of one signer many times"
        }
        3 => {
            let all = forged.receipts.iter_mut().flatten();
            for receipt in all {
                match &mut receipt.action {
                    ReceiptAction::Transfer { amount, .. }
                    | ReceiptAction::Return { amount, .. }
                    | ReceiptAction::Bond { amount, .. }
                    | ReceiptAction::TopUp { amount, .. }
                    | ReceiptAction::Withdraw { amount, .. }
                    | ReceiptAction::Reward { amount, .. } => *amount += 1,
                    ReceiptAction::Exit { .. } | ReceiptAction::Resume { .. } | ReceiptAction::Evidence { .. } => {}
                }
            }
            "crosslink of worthier receipts"
        }
        4 => {
            forged.receipts.iter_mut().for_each(Vec::clear);
            "crosslink without its receipts"
        }
        5 => {
            let other = ShardId(crosslink.shard.0.wrapping_add(1));
            forged.shard = other;
            "crosslink in another shard's name"
        }
        6 => {
            forged.headers.remove(0);
            forged.receipts.remove(0);
            "crosslink with a gap"
        }
        _ => {
            // A header of the own making, certified by all that help.
            if let Some(header) = forged.headers.last_mut() {
                header.figures.balances = header.figures.balances.wrapping_add(1 << 30);
                header.figures.received = header.figures.received.wrapping_add(1 << 30);
                let finality = Finality::of(header, scene.setup.network.id);
                let signatures = signed_by(&finality, colluders, scene);
                forged.certificate = Certificate { finality, signatures };
            }
            "crosslink of an invented header"
        }
    };
    (what, forged)
}

/// Beacon blocks changed on their way to a follower, and how.
pub(super) fn feed(
    blocks: &CertifiedBlocks,
    colluders: &[(Member, SecretKey)],
    scene: &Scene<'_>,
    random: &mut Random,
) -> (&'static str, CertifiedBlocks) {
    let mut forged = blocks.clone();
    let what = match random.below(7) {
        0 => {
            forged.certificate.signatures.truncate(1);
            "feed with too few signatures"
        }
        1 => {
            forged.certificate.signatures.iter_mut().for_each(|(_, signature)| signature.0[0] ^= 1);
            "feed with wrong signatures"
        }
        2 => {
            if let Some(block) = forged.blocks.last_mut() {
                block.body.push(vec![0]);
            }
            "feed with another body"
        }
        3 => {
            forged.blocks.remove(0);
            "feed with a gap"
        }
        4 => {
            forged.certificate.finality.block = BlockId(hash(random).0);
            "feed certified for another block"
        }
        5 => {
            forged.blocks.clear();
            "feed of nothing"
        }
        _ => {
            if let Some(block) = forged.blocks.last_mut() {
                block.body.clear();
                block.witnesses.clear();
                block.header.body_root = kakera_chain::hash::merkle_root(&block.body);
                block.header.witness_root = kakera_chain::hash::merkle_root(&block.witnesses);
                block.header.state_root = hash(random);
                let finality = Finality::of(&block.header, scene.setup.network.id);
                let signatures = signed_by(&finality, colluders, scene);
                forged.certificate = Certificate { finality, signatures };
            }
            "feed of an invented block"
        }
    };
    (what, forged)
}
