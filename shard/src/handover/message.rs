//! What is asked of a peer and what it answers.

use super::{
    head::StateHead,
    part::{Part, Wanted},
};
use crate::state::ShardState;
use borsh::{BorshDeserialize, BorshSerialize};
use kakera_chain::{
    BlockId,
    codec::{self, InvalidBytes},
};
use thiserror::Error;

/// Something of the state at a certified block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Request {
    /// The block.
    pub block: BlockId,
    /// What.
    pub ask: Ask,
}

/// What a request can be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Ask {
    /// The head of the state.
    Head,
    /// Some of the accounts.
    Part(Wanted),
}

/// A peer's answer.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Answer {
    /// To [`Ask::Head`].
    Head(Box<StateHead>),
    /// To [`Ask::Part`].
    Part(Part),
    /// To either: the peer does not hold this state, or no longer.
    Unavailable,
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidRequest {
    /// Not canonical, or too long.
    #[error(transparent)]
    Bytes(#[from] InvalidBytes),
    /// It ends before it begins.
    #[error("the last key wanted is below the first")]
    Interval,
    /// Nothing, or more than one part holds.
    #[error("a part of {limit} accounts")]
    Limit {
        /// Accounts asked for.
        limit: u32,
    },
}

/// Why bytes are no answer to what was asked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidAnswer {
    /// Not canonical, or too long.
    #[error(transparent)]
    Bytes(#[from] InvalidBytes),
    /// An answer to another question.
    #[error("a head was asked for and a part answered, or the other way round")]
    OtherKind,
}

impl Request {
    /// Canonical bytes at most.
    pub const MAX_BYTES: usize = 32 + 1 + 32 + 32 + 4;

    /// Decodes canonical bytes from a peer.
    pub fn decode(bytes: &[u8]) -> Result<Request, InvalidRequest> {
        let request: Request = codec::decode(bytes, Request::MAX_BYTES)?;
        match request.ask {
            Ask::Part(wanted) if wanted.from > wanted.until => Err(InvalidRequest::Interval),
            Ask::Part(wanted) if !wanted.is_valid() => Err(InvalidRequest::Limit { limit: wanted.limit }),
            _ => Ok(request),
        }
    }
}

impl Ask {
    /// Canonical bytes that an answer may have.
    pub fn answer_bytes(&self) -> usize {
        match self {
            Ask::Head => 1 + StateHead::MAX_BYTES,
            Ask::Part(_) => 1 + Part::MAX_BYTES,
        }
    }
}

impl Answer {
    /// The answer of a peer that holds this version of the state at the block asked for, or none.
    pub fn to(ask: &Ask, state: Option<&ShardState>) -> Answer {
        match (state, ask) {
            (None, _) => Answer::Unavailable,
            (Some(state), Ask::Head) => Answer::Head(Box::new(state.head())),
            (Some(state), Ask::Part(wanted)) => Answer::Part(state.part(wanted)),
        }
    }

    /// Decodes canonical bytes from the peer that was asked.
    pub fn decode(bytes: &[u8], ask: &Ask) -> Result<Answer, InvalidAnswer> {
        let answer = codec::decode(bytes, ask.answer_bytes())?;
        match (&answer, ask) {
            (Answer::Head(_), Ask::Part(_)) | (Answer::Part(_), Ask::Head) => Err(InvalidAnswer::OtherKind),
            _ => Ok(answer),
        }
    }
}
