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
    /// For a chain that this node does not host.
    #[error("the greeting is for {found}, which this node does not host")]
    OtherChain {
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
    /// From nobody of the committees, or from this node itself.
    #[error("validator {from} is no other member of a committee of this chain")]
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
    /// The greeting for a peer.
    pub(super) fn hello(&self, to: ValidatorId, now: Timestamp) -> Vec<u8> {
        codec::encode(&Hello::sign(self.network, self.chain, self.me, to, now, &self.key))
    }

    /// Checks a greeting for this chain, the signature last; returns who greets.
    pub(super) fn check(&self, hello: &Hello, now: Timestamp) -> Result<ValidatorId, RefusedHello> {
        if hello.to != self.me {
            return Err(RefusedHello::OtherTarget { expected: self.me, found: hello.to });
        }
        let from = hello.from;
        let peer = self.peers.read().expect("no holder panics").get(&from).cloned();
        let peer = peer.ok_or(RefusedHello::NotAPeer { from })?;
        if hello.time.0.abs_diff(now.0) > TOLERANCE_MS {
            return Err(RefusedHello::Clock { found: hello.time, now });
        }
        hello.verify(&peer.contact.key).map_err(|_| RefusedHello::Signature { from })?;
        Ok(from)
    }
}
