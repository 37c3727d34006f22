//! One memory of signature verdicts for all nodes of a world: each distinct signature is checked once, by the same rule as
//! ever, instead of once a receiver.

use kakera_chain::{
    hash::Hash,
    keys::{PublicKey, Signature},
    signatures::SignatureMemory,
};

/// Verdicts kept in each of two generations: when one is full, the older one is forgotten.
const GENERATION: usize = 1 << 17;

#[derive(Default)]
#[allow(clippy::disallowed_types, reason = "its order is never read: what is kept is looked up by its whole key")]
struct Verdicts {
    young: std::collections::HashMap<[u8; 128], bool>,
    old: std::collections::HashMap<[u8; 128], bool>,
    checked: u64,
    recalled: u64,
}

/// The memory.
#[derive(Default)]
#[allow(clippy::disallowed_types, reason = "the contract is shared between threads; a world has one")]
pub struct Memory(std::sync::Mutex<Verdicts>);

impl Memory {
    /// How many signatures were checked, and how many verdicts recalled.
    pub fn counts(&self) -> (u64, u64) {
        let verdicts = self.0.lock().expect("no holder panics");
        (verdicts.checked, verdicts.recalled)
    }
}

/// The whole of what a verdict depends on.
fn whole(key: &PublicKey, id: &Hash, signature: &Signature) -> [u8; 128] {
    let mut bytes = [0; 128];
    bytes[..32].copy_from_slice(&key.0);
    bytes[32..64].copy_from_slice(&id.0);
    bytes[64..].copy_from_slice(&signature.0);
    bytes
}

impl SignatureMemory for Memory {
    fn recall(&self, key: &PublicKey, id: &Hash, signature: &Signature) -> Option<bool> {
        let mut verdicts = self.0.lock().expect("no holder panics");
        let whole = whole(key, id, signature);
        let found = verdicts.young.get(&whole).or_else(|| verdicts.old.get(&whole)).copied();
        verdicts.recalled += u64::from(found.is_some());
        found
    }

    fn keep(&self, key: &PublicKey, id: &Hash, signature: &Signature, holds: bool) {
        let mut verdicts = self.0.lock().expect("no holder panics");
        verdicts.checked += 1;
        if verdicts.young.len() >= GENERATION {
            verdicts.old = std::mem::take(&mut verdicts.young);
        }
        verdicts.young.insert(whole(key, id, signature), holds);
    }
}
