//! Keys and signatures. `ed25519-dalek` signs; `ed25519-zebra` parses and verifies by ZIP 215, alone and in batches,
//! so that a signature's validity never depends on how it was checked.

use crate::{hash::Hash, signatures::Signatures};
use borsh::{BorshDeserialize, BorshSerialize};
use ed25519_dalek::Signer;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use thiserror::Error;

/// An Ed25519 public key, 32 bytes; not necessarily a valid point until used.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct PublicKey(pub [u8; 32]);

/// An Ed25519 signature, 64 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct Signature(pub [u8; 64]);

/// An Ed25519 secret key. Never printed.
#[derive(Clone)]
pub struct SecretKey(ed25519_dalek::SigningKey);

/// Why a key or a signature is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidKey {
    /// Not 32 bytes of hexadecimal text.
    #[error("a key is 64 hexadecimal digits (32 bytes)")]
    Text,
    /// Not the encoding of a curve point.
    #[error("the key is not a point of the curve")]
    NotAPoint,
    /// A small-order point: anyone could sign for it.
    #[error("the key is a weak (small-order) point")]
    Weak,
}

/// A signature does not verify under the key over these bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the signature does not verify")]
pub struct InvalidSignature;

impl PublicKey {
    /// Parses hexadecimal text.
    pub fn parse(text: &str) -> Result<PublicKey, InvalidKey> {
        parse_hex(text).map(PublicKey).ok_or(InvalidKey::Text)
    }

    /// Whether the key may be registered: a valid point, not of small order.
    pub fn check_strong(&self) -> Result<(), InvalidKey> {
        let key = ed25519_dalek::VerifyingKey::from_bytes(&self.0).map_err(|_| InvalidKey::NotAPoint)?;
        if key.is_weak() { Err(InvalidKey::Weak) } else { Ok(()) }
    }

    /// Verifies a signature over an identity (a 32-byte hash that names its purpose through its tag), by ZIP 215.
    pub fn verify(&self, id: &Hash, signature: &Signature) -> Result<(), InvalidSignature> {
        let key = ed25519_zebra::VerificationKey::try_from(self.0).map_err(|_| InvalidSignature)?;
        key.verify(&ed25519_zebra::Signature::from(signature.0), &id.0).map_err(|_| InvalidSignature)
    }
}

impl SecretKey {
    /// The key of a 32-byte seed; the seed must come from the operating system's entropy.
    pub fn from_seed(seed: [u8; 32]) -> SecretKey {
        SecretKey(ed25519_dalek::SigningKey::from_bytes(&seed))
    }

    /// Parses hexadecimal text of the seed.
    pub fn parse(text: &str) -> Result<SecretKey, InvalidKey> {
        parse_hex(text).map(SecretKey::from_seed).ok_or(InvalidKey::Text)
    }

    /// The seed, to be written to a key file.
    pub fn to_seed(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs an identity.
    pub fn sign(&self, id: &Hash) -> Signature {
        Signature(self.0.sign(&id.0).to_bytes())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.public())
    }
}

/// Verifies many signatures at once: all hold exactly when each alone holds (ZIP 215).
///
/// Returns the index of the first item that fails.
pub fn verify_all(items: &[(PublicKey, Hash, Signature)]) -> Result<(), usize> {
    // Batch coefficients need only be unpredictable before the signatures are fixed: they are hashed from all of
    // them, so that checking is a function of its arguments. Batching pays from a few signatures on.
    if items.len() >= 4 && batch_holds(items) {
        return Ok(());
    }
    items.iter().position(|(key, id, signature)| key.verify(id, signature).is_err()).map_or(Ok(()), Err)
}

fn batch_holds(items: &[(PublicKey, Hash, Signature)]) -> bool {
    let mut batch = ed25519_zebra::batch::Verifier::new();
    let mut transcript = Vec::with_capacity(items.len() * 128);
    for (key, id, signature) in items {
        transcript.extend_from_slice(&key.0);
        transcript.extend_from_slice(&id.0);
        transcript.extend_from_slice(&signature.0);
        batch.queue((
            ed25519_zebra::VerificationKeyBytes::from(key.0),
            ed25519_zebra::Signature::from(signature.0),
            &id.0,
        ));
    }
    batch.verify(HashedCoefficients::new(Hash::of(&[b"kakera/batch", &transcript]))).is_ok()
}

struct HashedCoefficients {
    seed: Hash,
    counter: u64,
}

impl HashedCoefficients {
    fn new(seed: Hash) -> Self {
        HashedCoefficients { seed, counter: 0 }
    }

    fn block(&mut self) -> [u8; 32] {
        self.counter += 1;
        Hash::of(&[&self.seed.0, &self.counter.to_le_bytes()]).0
    }
}

impl rand_core::TryRng for HashedCoefficients {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        let [a, b, c, d, ..] = self.block();
        Ok(u32::from_le_bytes([a, b, c, d]))
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        let [a, b, c, d, e, f, g, h, ..] = self.block();
        Ok(u64::from_le_bytes([a, b, c, d, e, f, g, h]))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        for chunk in bytes.chunks_mut(32) {
            chunk.copy_from_slice(&self.block()[..chunk.len()]);
        }
        Ok(())
    }
}

impl rand_core::TryCryptoRng for HashedCoefficients {}

/// Something signed whose signature was checked: the only form in which the rules accept it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified<T>(T);

impl<T> Verified<T> {
    /// Wraps `value` once `key`'s signature over `id` holds; `id` must be the identity of `value`.
    pub(crate) fn check(
        value: T,
        id: &Hash,
        key: &PublicKey,
        signature: &Signature,
        signatures: &Signatures,
    ) -> Result<Verified<T>, InvalidSignature> {
        signatures.verify(key, id, signature)?;
        Ok(Verified(value))
    }

    /// Wraps what this process signed itself or checked before it was stored.
    pub(crate) fn trusted(value: T) -> Verified<T> {
        Verified(value)
    }

    /// The value.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> std::ops::Deref for Verified<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

/// 32 bytes from exactly 64 hexadecimal digits.
pub fn parse_hex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; 32];
    for (index, byte) in bytes.iter_mut().enumerate() {
        let digits = &text[2 * index..2 * index + 2];
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(bytes)
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..8].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..8].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <String as Deserialize>::deserialize(deserializer)?;
        PublicKey::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
