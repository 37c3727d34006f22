//! Checking signatures, with an optional memory of verdicts for a process that sees one signature many times.

use crate::{
    hash::Hash,
    keys::{self, InvalidSignature, PublicKey, Signature},
};
use std::{fmt, sync::Arc};

/// Keeps verdicts on signatures. What it recalls must be what was kept: a verdict is a function of its three arguments,
/// so that remembering it saves work and changes nothing else.
pub trait SignatureMemory: Send + Sync {
    /// Whether this signature holds, if that is remembered.
    fn recall(&self, key: &PublicKey, id: &Hash, signature: &Signature) -> Option<bool>;
    /// Remembers whether it holds.
    fn keep(&self, key: &PublicKey, id: &Hash, signature: &Signature, holds: bool);
}

/// How signatures are checked: always by the one rule of [`PublicKey::verify`], at most once each where there is a
/// memory.
#[derive(Clone, Default)]
pub struct Signatures(Option<Arc<dyn SignatureMemory>>);

impl Signatures {
    /// Checks through a memory.
    pub fn remembered(memory: Arc<dyn SignatureMemory>) -> Signatures {
        Signatures(Some(memory))
    }

    /// Checks one signature.
    ///
    /// # Errors
    /// It does not hold.
    pub fn verify(&self, key: &PublicKey, id: &Hash, signature: &Signature) -> Result<(), InvalidSignature> {
        let Some(memory) = &self.0 else { return key.verify(id, signature) };
        match memory.recall(key, id, signature) {
            Some(true) => Ok(()),
            Some(false) => Err(InvalidSignature),
            None => {
                let verdict = key.verify(id, signature);
                memory.keep(key, id, signature, verdict.is_ok());
                verdict
            }
        }
    }

    /// Checks many at once, see [`keys::verify_all`].
    ///
    /// # Errors
    /// The index of the first that does not hold.
    pub fn verify_all(&self, items: &[(PublicKey, Hash, Signature)]) -> Result<(), usize> {
        let Some(memory) = &self.0 else { return keys::verify_all(items) };
        let new = |(key, id, signature): &&(PublicKey, Hash, Signature)| memory.recall(key, id, signature).is_none();
        let unknown: Vec<_> = items.iter().filter(new).copied().collect();
        if keys::verify_all(&unknown).is_ok() {
            unknown.iter().for_each(|(key, id, signature)| memory.keep(key, id, signature, true));
        }
        let fails = |(key, id, signature): &(PublicKey, Hash, Signature)| self.verify(key, id, signature).is_err();
        items.iter().position(fails).map_or(Ok(()), Err)
    }
}

impl fmt::Debug for Signatures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Signatures(remembered)" } else { "Signatures" })
    }
}

#[cfg(test)]
mod tests;
