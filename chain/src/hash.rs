//! SHA-256 with domain tags: what is hashed or signed can stand for one thing only.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;

/// A SHA-256 digest.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// All zero bytes: "nothing", never the digest of anything known.
    pub const ZERO: Hash = Hash([0; 32]);

    /// SHA-256 of the parts one after the other.
    pub fn of(parts: &[&[u8]]) -> Hash {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update(part);
        }
        Hash(hasher.finalize().into())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..8].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a hash or signature is for: 16 ASCII bytes, padded with spaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag(&'static [u8; 16]);

impl Tag {
    /// The genesis file, whose hash is the network id.
    pub const GENESIS: Tag = Tag(b"kakera/genesis  ");
    /// A transaction's id.
    pub const TRANSACTION: Tag = Tag(b"kakera/tx       ");
    /// A block header's id.
    pub const BLOCK: Tag = Tag(b"kakera/block    ");
    /// A consensus message's id.
    pub const MESSAGE: Tag = Tag(b"kakera/message  ");
    /// A finality signature.
    pub const FINALITY: Tag = Tag(b"kakera/finality ");
    /// A peer's greeting.
    pub const HELLO: Tag = Tag(b"kakera/hello    ");
    /// A chain's state.
    pub const STATE: Tag = Tag(b"kakera/state    ");
    /// Anything drawn from the network's seed.
    pub const SEED: Tag = Tag(b"kakera/seed     ");
    /// A validator's proof that it holds the key it is bonded with.
    pub const BOND: Tag = Tag(b"kakera/bond     ");
    /// A receipt, as it is remembered by who does not keep its body.
    pub const RECEIPT: Tag = Tag(b"kakera/receipt  ");
    /// A signature over an id: the id already names its purpose through its own tag.
    pub const SIGN: Tag = Tag(b"kakera/sign     ");

    /// The tag's bytes.
    pub fn bytes(self) -> &'static [u8; 16] {
        self.0
    }
}

/// The hash of a network's genesis file; part of everything hashed or signed in that network.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct NetworkId(pub Hash);

impl fmt::Display for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// `SHA-256(tag ‖ network id ‖ borsh(value))`: the identity of a thing in one network.
pub fn identity<T: BorshSerialize>(tag: Tag, network: NetworkId, value: &T) -> Hash {
    Hash::of(&[tag.bytes(), &network.0.0, &crate::codec::encode(value)])
}

/// The root of a binary Merkle tree over `leaves`, in order. A leaf is `SHA-256(0x00 ‖ leaf)`, an inner node
/// `SHA-256(0x01 ‖ left ‖ right)`; a node without a sibling rises unchanged, so no leaf is ever counted twice
/// (the duplication of the last leaf is a known second-preimage flaw). No leaves: all zero.
pub fn merkle_root<L: AsRef<[u8]>>(leaves: &[L]) -> Hash {
    let mut level: Vec<Hash> = leaves.iter().map(|leaf| Hash::of(&[&[0], leaf.as_ref()])).collect();
    if level.is_empty() {
        return Hash::ZERO;
    }
    while level.len() > 1 {
        level = level
            .chunks(2)
            .map(|pair| match pair {
                [left, right] => Hash::of(&[&[1], &left.0, &right.0]),
                [alone] => *alone,
                _ => unreachable!("chunks(2) yields one or two"),
            })
            .collect();
    }
    level[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merkle_roots_differ_by_content_order_and_count() {
        let root = |leaves: &[&[u8]]| merkle_root(leaves);
        assert_eq!(root(&[]), Hash::ZERO);
        assert_ne!(root(&[b"a", b"b", b"c"]), root(&[b"a", b"b", b"c", b"c"]), "no duplication of the last leaf");
        assert_ne!(root(&[b"a", b"b"]), root(&[b"b", b"a"]));
        let inner = [Hash::of(&[&[0], b"a"]).0, Hash::of(&[&[0], b"b"]).0].concat();
        assert_ne!(root(&[b"a", b"b"]), root(&[&inner]), "leaf and node domains are apart");
    }
}
