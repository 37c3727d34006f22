//! The signed greeting that opens a stream between peers, and what a receiver checks before it listens on.

use super::Inner;
use kakera_chain::{
    codec::{self, InvalidBytes},
    hash::NetworkId,
    peer::Hello,
    units::{ChainId, Timestamp, ValidatorId},
};
use thiserror::Error;
use tonic::{Code, Status};

/// How far the sender's clock may be from ours, in ms; also how long a recorded greeting could be played again.
pub(crate) const TOLERANCE_MS: u64 = 60_000;

/// Why a greeting is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RefusedHello {
    /// The stream ended before it.
    #[error("a stream begins with a greeting")]
    Missing,
    /// Not a greeting, or too long.
    #[error("the first envelope is no greeting: {0}")]
    Malformed(InvalidBytes),
    /// For another network.
    #[error("the greeting is for network {found}, but this is {expected}: the genesis files differ")]
    OtherNetwork {
        /// This network.
        expected: NetworkId,
        /// The greeting's.
        found: NetworkId,
    },
    /// For another chain.
    #[error("the greeting is for {found}, but this node serves {expected}")]
    OtherChain {
        /// This chain.
        expected: ChainId,
        /// The greeting's.
        found: ChainId,
    },
    /// For another node.
    #[error("the greeting is for validator {found}, but this is {expected}: check the endpoints in the genesis file")]
    OtherTarget {
        /// This validator.
        expected: ValidatorId,
        /// The greeting's.
        found: ValidatorId,
    },
    /// From nobody of the committee, or from this node itself.
    #[error("validator {from} is no other member of this committee")]
    NotAPeer {
        /// The sender.
        from: ValidatorId,
    },
    /// Too old or from the future.
    #[error("the greeting's time is {found} ms, but it is {now} ms here: set both clocks")]
    Clock {
        /// The greeting's.
        found: Timestamp,
        /// Ours.
        now: Timestamp,
    },
    /// Not signed by the validator that it names.
    #[error("the greeting is not signed by validator {from}")]
    Signature {
        /// The validator named.
        from: ValidatorId,
    },
}

impl RefusedHello {
    /// The reason for programs.
    pub fn reason(&self) -> &'static str {
        match self {
            RefusedHello::Missing => "HELLO_MISSING",
            RefusedHello::Malformed(_) => "HELLO_MALFORMED",
            RefusedHello::OtherNetwork { .. } => "HELLO_OTHER_NETWORK",
            RefusedHello::OtherChain { .. } => "HELLO_OTHER_CHAIN",
            RefusedHello::OtherTarget { .. } => "HELLO_OTHER_TARGET",
            RefusedHello::NotAPeer { .. } => "HELLO_NOT_A_PEER",
            RefusedHello::Clock { .. } => "HELLO_CLOCK",
            RefusedHello::Signature { .. } => "HELLO_SIGNATURE",
        }
    }

    /// The status that ends the stream.
    pub(crate) fn status(&self) -> Status {
        let code = match self {
            RefusedHello::Missing | RefusedHello::Malformed(_) => Code::InvalidArgument,
            _ => Code::PermissionDenied,
        };
        crate::errors::refusal(code, self.reason(), self.to_string())
    }
}

impl Inner {
    /// The greeting for the peer at `index`.
    pub(super) fn hello(&self, index: usize, now: Timestamp) -> Vec<u8> {
        codec::encode(&Hello::sign(self.network, self.chain, self.me, self.peers[index].validator, now, &self.key))
    }

    /// Checks a greeting, the signature last; returns the peer's index and validator.
    pub(super) fn check_hello(&self, bytes: &[u8], now: Timestamp) -> Result<(usize, ValidatorId), RefusedHello> {
        let hello = Hello::decode(bytes).map_err(RefusedHello::Malformed)?;
        if hello.network != self.network {
            return Err(RefusedHello::OtherNetwork { expected: self.network, found: hello.network });
        }
        if hello.chain != self.chain {
            return Err(RefusedHello::OtherChain { expected: self.chain, found: hello.chain });
        }
        if hello.to != self.me {
            return Err(RefusedHello::OtherTarget { expected: self.me, found: hello.to });
        }
        let from = hello.from;
        let place = self.peers.iter().position(|peer| peer.validator == from);
        let index = place.ok_or(RefusedHello::NotAPeer { from })?;
        if hello.time.0.abs_diff(now.0) > TOLERANCE_MS {
            return Err(RefusedHello::Clock { found: hello.time, now });
        }
        let peer = &self.peers[index];
        hello.verify(&peer.key).map_err(|_| RefusedHello::Signature { from })?;
        Ok((index, from))
    }
}
