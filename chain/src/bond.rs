//! Bonds: what somebody who wants to validate binds itself to, and the proof that it holds the key it names.

use crate::{
    address::Address,
    genesis::Role,
    hash::{Hash, NetworkId, Tag, identity},
    keys::{InvalidKey, PublicKey, SecretKey, Signature},
};
use borsh::{BorshDeserialize, BorshSerialize};
use thiserror::Error;

/// A validator to be.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Bond {
    /// Its Ed25519 key.
    pub key: PublicKey,
    /// What it will do.
    pub role: Role,
    /// Its seats; 1 to [`Bond::MAX_SEATS`].
    pub seats: u32,
    /// Where its process listens for gRPC: `host:port`, at most [`Bond::MAX_ENDPOINT`] bytes.
    pub endpoint: String,
    /// The end of its SHA-256 hash chain of random numbers.
    pub commitment: Hash,
    /// By `key` over [`Bond::statement`]: who owns the stake is chosen by who holds the key.
    pub proof: Signature,
}

/// Why a bond is refused, whatever the registry holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidBond {
    /// No seat, or more than a validator may have.
    #[error("a bond is for 1 to {most} seats, not {found}")]
    Seats {
        /// Seats asked for.
        found: u32,
        /// Seats allowed.
        most: u32,
    },
    /// Not `host:port`, or too long.
    #[error("the endpoint must be host:port in at most {limit} visible ASCII characters", limit = Bond::MAX_ENDPOINT)]
    Endpoint,
    /// A key that must not be registered.
    #[error("the validator key cannot be registered: {0}")]
    Key(InvalidKey),
    /// The validator's key did not sign this.
    #[error("the proof of possession does not verify: sign the bond with the validator's key")]
    Proof,
}

impl Bond {
    /// Seats of one validator at most.
    pub const MAX_SEATS: u32 = 65_535;
    /// Bytes of an endpoint at most.
    pub const MAX_ENDPOINT: usize = 128;
    /// Canonical bytes at most.
    pub const MAX_BYTES: usize = 32 + 1 + 4 + 4 + Bond::MAX_ENDPOINT + 32 + 64;

    /// A bond of `owner`'s with its proof.
    pub fn sign(
        key: &SecretKey,
        owner: &Address,
        (role, seats): (Role, u32),
        (endpoint, commitment): (String, Hash),
        network: NetworkId,
    ) -> Bond {
        let mut bond = Bond { key: key.public(), role, seats, endpoint, commitment, proof: Signature([0; 64]) };
        bond.proof = key.sign(&bond.statement(owner, network));
        bond
    }

    /// What the proof signs: `SHA-256("kakera/bond     " ‖ network id ‖ borsh(owner, key, role, seats, endpoint,
    /// commitment))`.
    pub fn statement(&self, owner: &Address, network: NetworkId) -> Hash {
        let parts = (owner, &self.key, self.role, self.seats, &self.endpoint, &self.commitment);
        identity(Tag::BOND, network, &parts)
    }

    /// Checks shape, key and proof, the costly last.
    pub fn check(&self, owner: &Address, most: u32, network: NetworkId) -> Result<(), InvalidBond> {
        check_seats(self.seats, most)?;
        if !is_endpoint(&self.endpoint) {
            return Err(InvalidBond::Endpoint);
        }
        self.key.check_strong().map_err(InvalidBond::Key)?;
        let statement = self.statement(owner, network);
        self.key.verify(&statement, &self.proof).map_err(|_| InvalidBond::Proof)
    }
}

/// Whether so many seats may be bonded at once where `most` may be.
pub fn check_seats(found: u32, most: u32) -> Result<(), InvalidBond> {
    let most = most.min(Bond::MAX_SEATS);
    if (1..=most).contains(&found) { Ok(()) } else { Err(InvalidBond::Seats { found, most }) }
}

/// Whether text can name a process: a host, a colon and a port, in visible ASCII.
fn is_endpoint(text: &str) -> bool {
    let named = text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|n| n > 0)
    });
    named && text.len() <= Bond::MAX_ENDPOINT && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

    const NETWORK: NetworkId = NetworkId(Hash([9; 32]));
    const OWNER: Address = Address([1; 32]);

    fn bond() -> Bond {
        let key = SecretKey::from_seed([2; 32]);
        Bond::sign(&key, &OWNER, (Role::Shard, 3), ("node.example:7000".into(), Hash([4; 32])), NETWORK)
    }

    #[test]
    fn the_statement_and_the_proof_are_golden() {
        let bond = bond();
        assert_eq!(bond.check(&OWNER, 3, NETWORK), Ok(()));
        assert_eq!(bond.statement(&OWNER, NETWORK).to_string(), STATEMENT);
        let parts = [&[1; 32][..], &bond.key.0, &[1, 3, 0, 0, 0, 17, 0, 0, 0], b"node.example:7000", &[4; 32]].concat();
        let by_hand = Hash::of(&[b"kakera/bond     ", &[9; 32], &parts]);
        assert_eq!(bond.statement(&OWNER, NETWORK), by_hand);
        assert_eq!(codec::encode(&bond).len(), 32 + 1 + 4 + 4 + 17 + 32 + 64);
    }

    const STATEMENT: &str = "1c1ff429117fa182e6185401306825dd5960e70679313ecd2539c1313fa633c1";

    #[test]
    fn a_proof_is_good_for_its_owner_terms_and_network_alone() {
        let good = bond();
        let broken = |change: &dyn Fn(&mut Bond)| {
            let mut bond = good.clone();
            change(&mut bond);
            bond.check(&OWNER, 10, NETWORK)
        };
        assert_eq!(broken(&|bond| bond.seats = 4), Err(InvalidBond::Proof));
        assert_eq!(broken(&|bond| bond.role = Role::Beacon), Err(InvalidBond::Proof));
        assert_eq!(broken(&|bond| bond.endpoint = "other.example:7000".into()), Err(InvalidBond::Proof));
        assert_eq!(broken(&|bond| bond.commitment = Hash([5; 32])), Err(InvalidBond::Proof));
        assert_eq!(broken(&|bond| bond.key = SecretKey::from_seed([3; 32]).public()), Err(InvalidBond::Proof));
        assert_eq!(good.check(&Address([2; 32]), 10, NETWORK), Err(InvalidBond::Proof), "a stolen proof");
        assert_eq!(good.check(&OWNER, 10, NetworkId(Hash([8; 32]))), Err(InvalidBond::Proof), "another network");
    }

    #[test]
    fn shapes_are_checked_before_signatures() {
        let good = bond();
        for (seats, most) in [(0, 10), (4, 3), (70_000, 80_000)] {
            let bond = Bond { seats, ..good.clone() };
            assert_eq!(
                bond.check(&OWNER, most, NETWORK),
                Err(InvalidBond::Seats { found: seats, most: most.min(65_535) })
            );
        }
        let long = format!("{}:1", "a".repeat(Bond::MAX_ENDPOINT));
        for endpoint in ["", ":1", "host", "host:", "host:0", "host:70000", "host:+1", "a b:1", "h\u{e9}:1", &long] {
            let bond = Bond { endpoint: endpoint.into(), ..good.clone() };
            assert_eq!(bond.check(&OWNER, 10, NETWORK), Err(InvalidBond::Endpoint), "{endpoint}");
        }
        // The point of order one, for which everything verifies.
        let mut weak = [0; 32];
        weak[0] = 1;
        let bond = Bond { key: PublicKey(weak), ..good };
        assert_eq!(bond.check(&OWNER, 10, NETWORK), Err(InvalidBond::Key(InvalidKey::Weak)));
    }
}
