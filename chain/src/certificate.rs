//! Certificates: the objective form of finality, checked by whoever knows the committee.

use crate::{
    block::Header,
    hash::{Hash, NetworkId, Tag, identity},
    keys::{InvalidSignature, PublicKey, SecretKey, Signature, Verified},
    signatures::Signatures,
    units::{ChainId, Epoch, Height, ValidatorId},
};
use borsh::{BorshDeserialize, BorshSerialize};
use kakera_cbc::{BlockId, Committee, Member};
use thiserror::Error;

/// The keys and weights of one era's committee.
#[derive(Clone, Debug)]
pub struct Seats {
    /// Each member's key, by [`Member`] index.
    pub keys: Vec<PublicKey>,
    /// Each member's entry in the registry.
    pub validators: Vec<ValidatorId>,
    /// Each member's weight: its seats in this committee.
    pub committee: Committee,
    /// How what they sign is checked.
    pub signatures: Signatures,
}

impl Seats {
    /// The member that a validator is here, if it is one.
    pub fn member(&self, validator: ValidatorId) -> Option<Member> {
        let index = self.validators.iter().position(|other| *other == validator)?;
        u16::try_from(index).ok().map(Member)
    }

    /// The member's key.
    pub fn key(&self, member: Member) -> Option<&PublicKey> {
        self.keys.get(member.index())
    }

    /// Whether this weight is more than two thirds of the committee's.
    pub fn is_supermajority(&self, weight: u64) -> bool {
        3 * u128::from(weight) > 2 * u128::from(self.committee.total())
    }
}

/// What a finality signature says: "my detector finalized this header".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct Finality {
    /// The chain.
    pub chain: ChainId,
    /// The era's epoch.
    pub epoch: Epoch,
    /// The era's root.
    pub root: BlockId,
    /// The block's height.
    pub height: Height,
    /// The block.
    pub block: BlockId,
}

impl Finality {
    /// The statement about a header.
    pub fn of(header: &Header, network: NetworkId) -> Finality {
        Finality {
            chain: header.chain,
            epoch: header.epoch,
            root: header.root,
            height: header.height,
            block: header.id(network),
        }
    }

    /// What is signed.
    pub fn id(&self, network: NetworkId) -> Hash {
        identity(Tag::FINALITY, network, self)
    }
}

/// One member's finality signature.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct FinalitySignature {
    /// The statement.
    pub finality: Finality,
    /// Who says it.
    pub signer: Member,
    /// Over [`Finality::id`].
    pub signature: Signature,
}

impl FinalitySignature {
    /// Signs the statement.
    pub fn sign(finality: Finality, signer: Member, key: &SecretKey, network: NetworkId) -> FinalitySignature {
        FinalitySignature { finality, signer, signature: key.sign(&finality.id(network)) }
    }

    /// Checks the signature against the committee.
    pub fn verify(self, seats: &Seats, network: NetworkId) -> Result<Verified<FinalitySignature>, InvalidSignature> {
        let key = *seats.key(self.signer).ok_or(InvalidSignature)?;
        let (id, signature) = (self.finality.id(network), self.signature);
        Verified::check(self, &id, &key, &signature, &seats.signatures)
    }
}

/// Finality signatures of more than 2/3 of a committee's weight on one header.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Certificate {
    /// The statement that all signed.
    pub finality: Finality,
    /// Who signed, strictly ascending, each with its signature.
    pub signatures: Vec<(Member, Signature)>,
}

/// Why a certificate is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidCertificate {
    /// Signers out of order or twice.
    #[error("the signers are not strictly ascending at position {position}")]
    SignerOrder {
        /// Where.
        position: usize,
    },
    /// A signer past the committee.
    #[error("member {member} is not in the committee")]
    UnknownSigner {
        /// Which.
        member: Member,
    },
    /// Too little weight.
    #[error("signers weigh {weight} of {total}, not more than two thirds")]
    TooLittleWeight {
        /// The signers'.
        weight: u64,
        /// The committee's.
        total: u64,
    },
    /// A signature that does not verify.
    #[error("the signature of member {member} does not verify")]
    Signature {
        /// Whose.
        member: Member,
    },
    /// For another chain or era.
    #[error("the certificate speaks of another chain or era")]
    OtherEra,
    /// For another block.
    #[error("the certificate speaks of another block")]
    OtherBlock,
}

impl Certificate {
    /// Canonical bytes of a certificate of 1,024 signers at most.
    pub const MAX_BYTES: usize = 80 * 1024;

    /// Whether a member's signature is among them.
    pub fn is_signed_by(&self, member: Member) -> bool {
        self.signatures.binary_search_by_key(&member, |(signer, _)| *signer).is_ok()
    }

    /// Checks signers, weight and signatures, and that it speaks of this era.
    pub fn verify(
        self,
        chain: ChainId,
        epoch: Epoch,
        root: BlockId,
        seats: &Seats,
        network: NetworkId,
    ) -> Result<Verified<Certificate>, InvalidCertificate> {
        if (self.finality.chain, self.finality.epoch, self.finality.root) != (chain, epoch, root) {
            return Err(InvalidCertificate::OtherEra);
        }
        let mut weight = 0u64;
        let mut last = None;
        let mut items = Vec::with_capacity(self.signatures.len().min(seats.keys.len()));
        let id = self.finality.id(network);
        for (position, (member, signature)) in self.signatures.iter().enumerate() {
            if last.is_some_and(|last| *member <= last) {
                return Err(InvalidCertificate::SignerOrder { position });
            }
            last = Some(*member);
            let key = seats.key(*member).ok_or(InvalidCertificate::UnknownSigner { member: *member })?;
            weight += seats.committee.weight(*member);
            items.push((*key, id, *signature));
        }
        if !seats.is_supermajority(weight) {
            return Err(InvalidCertificate::TooLittleWeight { weight, total: seats.committee.total() });
        }
        match seats.signatures.verify_all(&items) {
            Ok(()) => Ok(Verified::trusted(self)),
            Err(index) => Err(InvalidCertificate::Signature { member: self.signatures[index].0 }),
        }
    }
}
