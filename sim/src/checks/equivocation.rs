//! No honest member says two things of one place, in messages or as final, through any crash; nor is it ever accused.

use super::{Check, Happening, View};
use crate::node::NodeId;
use kakera_chain::{
    BlockId, Member, MessageId,
    certificate::FinalitySignature,
    message::SignedMessage,
    peer::PeerMessage,
    units::{ChainId, Epoch, Height, ValidatorId},
};
use std::collections::BTreeMap;

/// A member of an era: chain, epoch, root and place.
type Whose = (ChainId, Epoch, BlockId, Member);

/// Statement 4.
#[derive(Default)]
pub(super) struct Equivocation {
    said: BTreeMap<(Whose, u64), MessageId>,
    /// What each member signed as final, through all its lives.
    signed: BTreeMap<Whose, BTreeMap<Height, BlockId>>,
}

impl Check for Equivocation {
    fn name(&self) -> &'static str {
        "equivocation"
    }

    fn after(&mut self, view: &View<'_>, happening: &Happening<'_>) -> Result<(), String> {
        let Happening::Said { node, message } = happening else { return Ok(()) };
        match message {
            PeerMessage::Message(carried) => self.message(view, *node, &carried.message),
            PeerMessage::Messages(list) => {
                list.iter().try_for_each(|carried| self.message(view, *node, &carried.message))
            }
            PeerMessage::Finality(share) => self.share(view, *node, share),
            PeerMessage::Evidence(pair) => {
                let statement = &pair.first.statement;
                accused(view, *node, (statement.chain, statement.epoch, statement.root, statement.sender))
            }
            PeerMessage::Conflict(conflict) => {
                let finality = &conflict.first.finality;
                accused(view, *node, (finality.chain, finality.epoch, finality.root, conflict.first.signer))
            }
            _ => Ok(()),
        }
    }

    fn at_end(&mut self, view: &View<'_>) -> Result<(), String> {
        for node in view.nodes.iter().filter(|node| node.is_honest()) {
            let members = match (node.beacon(), node.shard()) {
                (Some(replica), _) => replica.status(node.clock.read(view.now)).members,
                (_, Some(replica)) => replica.status(node.clock.read(view.now)).members,
                _ => continue,
            };
            let accused =
                members.iter().find(|status| status.faulty && speaks_honestly(view, node.chain, status.validator));
            if let Some(status) = accused {
                return Err(format!("{} holds evidence against honest member {}", node.name(), status.member));
            }
        }
        Ok(())
    }
}

/// Evidence that a node passes on is not of an honest member.
fn accused(view: &View<'_>, node: NodeId, whose: Whose) -> Result<(), String> {
    match is_honest(view, whose) {
        true => Err(format!("{} holds evidence against honest member {}", view.name(node), whose.3)),
        false => Ok(()),
    }
}

fn is_honest(view: &View<'_>, (chain, epoch, root, member): Whose) -> bool {
    let validator = view.eras.validator(chain, epoch, root, member);
    validator.is_some_and(|validator| speaks_honestly(view, chain, validator))
}

fn speaks_honestly(view: &View<'_>, chain: ChainId, validator: ValidatorId) -> bool {
    let mut of = view.nodes.iter().filter(|node| node.chain == chain && node.validator == validator);
    of.all(crate::node::Node::is_honest)
}

impl Equivocation {
    /// A message that a node says, its own or another's that it holds; every node checked the signature.
    fn message(&mut self, view: &View<'_>, node: NodeId, message: &SignedMessage) -> Result<(), String> {
        let statement = &message.statement;
        let (sender, seq) = (statement.sender, statement.seq);
        let whose = (statement.chain, statement.epoch, statement.root, sender);
        if !is_honest(view, whose) {
            return Ok(());
        }
        let id = statement.id(view.setup.network.id);
        let first = *self.said.entry((whose, seq)).or_insert(id);
        if first == id {
            return Ok(());
        }
        Err(format!("{} said message {seq} of member {sender} as {id}, it was {first}", view.name(node)))
    }

    fn share(&mut self, view: &View<'_>, node: NodeId, share: &FinalitySignature) -> Result<(), String> {
        let finality = &share.finality;
        let whose = (finality.chain, finality.epoch, finality.root, share.signer);
        if !is_honest(view, whose) {
            return Ok(());
        }
        let signed = self.signed.entry(whose).or_default();
        if let Some(first) = signed.get(&finality.height) {
            return match *first == finality.block {
                true => Ok(()),
                false => Err(format!(
                    "{} signed {} as final at height {}, before that {first}",
                    view.name(node),
                    finality.block,
                    finality.height
                )),
            };
        }
        let last = signed.last_key_value().map(|(height, id)| (*height, *id));
        signed.insert(finality.height, finality.block);
        let Some((height, id)) = last else { return Ok(()) };
        if finality.height < height {
            return Err(format!(
                "{} signed height {} as final after height {height}",
                view.name(node),
                finality.height
            ));
        }
        match ancestor(view, node, finality.block, height) {
            Some(found) if found != id => {
                let at = finality.height;
                Err(format!("{} signed {} at height {at} as final: not above {id}", view.name(node), finality.block))
            }
            _ => Ok(()),
        }
    }
}

/// The block of a height below another, as the node that speaks of it holds them.
fn ancestor(view: &View<'_>, node: NodeId, mut id: BlockId, height: Height) -> Option<BlockId> {
    let node = &view.nodes[node];
    loop {
        let block = node.block(&id)?;
        if block.header.height <= height {
            return Some(id);
        }
        id = block.header.parent;
    }
}
