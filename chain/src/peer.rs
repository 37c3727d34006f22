//! What the members of a committee say to each other: canonical bytes inside a transport's envelope.

use crate::{
    certificate::{Certificate, FinalitySignature},
    codec::{self, InvalidBytes},
    evidence::{Conflict, Equivocation},
    hash::{Hash, NetworkId, Tag, identity},
    keys::{InvalidSignature, PublicKey, SecretKey, Signature},
    message::SignedMessage,
    units::{ChainId, Epoch, Height, Timestamp, ValidatorId},
};
use borsh::{BorshDeserialize, BorshSerialize};
use kakera_cbc::{BlockId, Member, MessageId};

/// The first thing said on a stream: who speaks, to whom, on which chain, and when.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Hello {
    /// The network.
    pub network: NetworkId,
    /// The chain whose committee both sit in.
    pub chain: ChainId,
    /// Who speaks.
    pub from: ValidatorId,
    /// Who is meant to hear it: a greeting is good for one listener.
    pub to: ValidatorId,
    /// When; a listener refuses old ones.
    pub time: Timestamp,
    /// The speaker's, over all of the above.
    pub signature: Signature,
}

impl Hello {
    /// Canonical bytes at most.
    pub const MAX_BYTES: usize = 256;

    fn id(network: NetworkId, chain: ChainId, from: ValidatorId, to: ValidatorId, time: Timestamp) -> Hash {
        identity(Tag::HELLO, network, &(chain, from, to, time))
    }

    /// A signed greeting.
    pub fn sign(
        network: NetworkId,
        chain: ChainId,
        from: ValidatorId,
        to: ValidatorId,
        time: Timestamp,
        key: &SecretKey,
    ) -> Hello {
        let signature = key.sign(&Hello::id(network, chain, from, to, time));
        Hello { network, chain, from, to, time, signature }
    }

    /// Whether `key`, the registered key of `from`, signed this.
    pub fn verify(&self, key: &PublicKey) -> Result<(), InvalidSignature> {
        key.verify(&Hello::id(self.network, self.chain, self.from, self.to, self.time), &self.signature)
    }

    /// Decodes canonical bytes.
    pub fn decode(bytes: &[u8]) -> Result<Hello, InvalidBytes> {
        codec::decode(bytes, Hello::MAX_BYTES)
    }
}

/// A consensus message with what its receivers may lack.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Carried {
    /// The message.
    pub message: SignedMessage,
    /// The canonical bytes of the block that it proposes.
    pub block: Option<Vec<u8>>,
    /// The certificate of its base, when that is new in its sender's thread.
    pub certificate: Option<Certificate>,
}

/// How far a member is.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct PeerStatus {
    /// The `seq` and id of the latest message held of each member.
    #[borsh(deserialize_with = "codec::by_member")]
    pub tips: Vec<Option<(u64, MessageId)>>,
    /// The newest certified block.
    pub certified: (Height, BlockId),
    /// Asks for an answer that repeats this number.
    pub question: Option<u64>,
    /// The number of the question that this answers.
    pub answer: Option<u64>,
}

/// Everything that travels between members.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum PeerMessage {
    /// A consensus message.
    Message(Box<Carried>),
    /// A finality signature.
    Finality(FinalitySignature),
    /// A certificate.
    Certificate(Box<Certificate>),
    /// How far the speaker is.
    Status(PeerStatus),
    /// Asks for messages past these: for each member the first `seq` wanted.
    Since(#[borsh(deserialize_with = "codec::by_member")] Vec<u64>),
    /// Answers [`PeerMessage::Since`]: messages in an order in which each follows all that it cites.
    Messages(Vec<Carried>),
    /// Asks for messages by id.
    ById(Vec<MessageId>),
    /// Asks for the whole justification of a message.
    WantCites(MessageId),
    /// A message's whole justification: for each member nothing, the id seen, or faulty.
    Cites {
        /// The message.
        message: MessageId,
        /// One entry a member.
        #[borsh(deserialize_with = "codec::by_member")]
        cites: Vec<CiteEntry>,
    },
    /// Asks for the certificate of a block, or of a later one.
    WantCertificate(BlockId),
    /// Asks for evidence against a member.
    WantEvidence(Member),
    /// Evidence of an equivocation.
    Evidence(Box<Equivocation>),
    /// The application's own gossip.
    Application(Vec<u8>),
    /// Evidence of conflicting finality signatures.
    Conflict(Box<Conflict>),
}

/// What travels between members, with the era that it is said in.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Spoken {
    /// The epoch of the speaker's era.
    pub epoch: Epoch,
    /// What it says.
    pub message: PeerMessage,
}

impl Spoken {
    /// Canonical bytes at most.
    pub const MAX_BYTES: usize = PeerMessage::MAX_BYTES + 8;

    /// Decodes canonical bytes.
    pub fn decode(bytes: &[u8]) -> Result<Spoken, InvalidBytes> {
        codec::decode(bytes, Spoken::MAX_BYTES)
    }
}

/// One member's entry in a whole justification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum CiteEntry {
    /// Nothing seen.
    Nothing,
    /// The latest message seen.
    Latest(MessageId),
    /// Evidence held.
    Faulty,
}

impl PeerMessage {
    /// Canonical bytes at most: below the transport's message limit of 4 MiB, above any answer (1 MiB and a block).
    pub const MAX_BYTES: usize = 4 * 1024 * 1024 - 128;
    /// Messages in one answer at most.
    pub const MAX_MESSAGES: usize = 256;

    /// Decodes canonical bytes.
    pub fn decode(bytes: &[u8]) -> Result<PeerMessage, InvalidBytes> {
        codec::decode(bytes, PeerMessage::MAX_BYTES)
    }
}
