//! A hook for labs: what stands between a chain's core and its peers. A process of a test may be made to say what no
//! honest member says; the product's own programs use no hook.

use crate::core::Outbox;
use kakera_chain::{
    hash::NetworkId,
    keys::SecretKey,
    peer::Spoken,
    units::{ChainId, ValidatorId},
};
use std::{fmt, sync::Arc};

/// Whose words pass.
#[derive(Clone)]
pub struct Speaker {
    /// The network.
    pub network: NetworkId,
    /// The chain that is spoken on.
    pub chain: ChainId,
    /// Who speaks.
    pub validator: ValidatorId,
    /// Its key.
    pub key: SecretKey,
}

/// Puts an outbox of its own in the place of one to the peers.
pub type Twist = Arc<dyn Fn(Speaker, Box<dyn Outbox>) -> Box<dyn Outbox> + Send + Sync>;

/// How a process differs from an honest one; by default in nothing.
#[derive(Clone, Default)]
pub struct Hooks {
    /// Stands between each core that this process starts and its peers.
    pub outbox: Option<Twist>,
}

impl Hooks {
    /// What a core speaks through: its way to its peers, behind the hook if there is one.
    pub fn outbox(&self, speaker: Speaker, honest: impl Outbox) -> Box<dyn Outbox> {
        let honest = Box::new(honest);
        match &self.outbox {
            None => honest,
            Some(twist) => {
                tracing::warn!(chain = %speaker.chain, "what this node says is changed on its way out: it is in a lab");
                twist(speaker, honest)
            }
        }
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").field("outbox", &self.outbox.is_some()).finish()
    }
}

impl Outbox for Box<dyn Outbox> {
    fn send(&self, to: &[ValidatorId], message: Spoken) {
        (**self).send(to, message);
    }
}
