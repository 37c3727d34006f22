//! Refusals of the API: each a gRPC code, a stable reason for programs and a sentence that tells a person what to do.

use kakera_beacon::InvalidCrosslink;
use kakera_chain::{codec::InvalidBytes, store::StoreFailure, units::ChainId};
use kakera_proto::v1;
use kakera_shard::{InvalidTransaction, Refusal};
use std::collections::HashMap;
use thiserror::Error;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// The domain of every `google.rpc.ErrorInfo`.
pub const DOMAIN: &str = "kakera";

/// Why a request is refused.
#[derive(Debug, Clone, Error)]
pub enum ApiError {
    /// Bytes that are not a signed transaction.
    #[error(
        "these bytes are no signed transaction ({reason}): send the transaction's canonical bytes and the 64 of its signature"
    )]
    MalformedTransaction {
        /// Why.
        reason: InvalidBytes,
    },
    /// Bytes that are not a crosslink.
    #[error("these bytes are no crosslink ({reason}): send the canonical bytes of one")]
    MalformedCrosslink {
        /// Why.
        reason: InvalidBytes,
    },
    /// An id of a wrong length.
    #[error("{field} has {found} bytes, but an id has 32")]
    IdLength {
        /// Which.
        field: &'static str,
        /// Bytes present.
        found: usize,
    },
    /// Text that is no address.
    #[error("the address does not parse ({reason}): check it against its source")]
    MalformedAddress {
        /// Why.
        reason: kakera_chain::address::InvalidAddress,
    },
    /// A field that must be set.
    #[error("{field} is missing: set it")]
    Missing {
        /// Which.
        field: &'static str,
    },
    /// A number past what it may be.
    #[error("{field} is {found}, but at most {most} is allowed")]
    OutOfRange {
        /// Which.
        field: &'static str,
        /// Its value.
        found: u64,
        /// The most that it may be.
        most: u64,
    },
    /// A shard that the network does not have.
    #[error("there is no shard {shard}: this network has shards 0 to {}", shards.saturating_sub(1))]
    UnknownShard {
        /// The one named.
        shard: u32,
        /// How many there are.
        shards: u16,
    },
    /// More items than one request may carry.
    #[error("{found} {what} in one request, but at most {limit} are taken: split it")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// Items present.
        found: usize,
        /// Items taken.
        limit: usize,
    },
    /// A block that is not held here.
    #[error("no such block is held here: ask for a height up to the certified one, or another node")]
    UnknownBlock,
    /// Another node sent a request here that this one must answer itself, but cannot.
    #[error(
        "another node forwarded a request about {chain}, which this node does not serve: its committee has just changed, \
         or the two differ in their genesis file"
    )]
    Misrouted {
        /// What it is about.
        chain: ChainId,
    },
    /// A chain that this node does not host.
    #[error("this node does not host {chain}: ask a node that the beacon state names for it")]
    NotHosted {
        /// Which.
        chain: ChainId,
    },
    /// Bytes that are no request for a part of a state.
    #[error("these bytes ask for no part of a state ({reason}): send the canonical bytes of a request")]
    MalformedHandOver {
        /// Why.
        reason: kakera_shard::handover::InvalidRequest,
    },
    /// No node of the committee answers.
    #[error("no node of {chain} answers ({last}): try again shortly, or check that its processes run")]
    Unreachable {
        /// Whose.
        chain: ChainId,
        /// What the last one tried said.
        last: String,
    },
    /// The core has stopped.
    #[error("this node's chain has stopped, see its log: use another node")]
    Stopped,
    /// Too much at once.
    #[error("this node is at its limit of {limit} {what}: try again shortly, or use another node")]
    Busy {
        /// Of what.
        what: &'static str,
        /// How many it takes.
        limit: usize,
    },
    /// Not from this machine.
    #[error("administration is answered on loopback only: run the command on the node's machine")]
    NotLoopback,
    /// The disk failed.
    #[error("{0}: see the node's log, or use another node")]
    Store(StoreFailure),
    /// A crosslink that the beacon refuses.
    #[error("the beacon refuses the crosslink: {0}")]
    Crosslink(InvalidCrosslink),
    /// A transaction that the pool refuses.
    #[error("{0}")]
    Transaction(Refusal),
}

impl ApiError {
    /// The code and the reason, UPPER_SNAKE_CASE and stable.
    pub fn kind(&self) -> (Code, &'static str) {
        match self {
            ApiError::MalformedTransaction { .. } => (Code::InvalidArgument, "MALFORMED_TRANSACTION"),
            ApiError::MalformedCrosslink { .. } => (Code::InvalidArgument, "MALFORMED_CROSSLINK"),
            ApiError::IdLength { .. } => (Code::InvalidArgument, "ID_LENGTH"),
            ApiError::MalformedAddress { .. } => (Code::InvalidArgument, "MALFORMED_ADDRESS"),
            ApiError::Missing { .. } => (Code::InvalidArgument, "MISSING_FIELD"),
            ApiError::OutOfRange { .. } => (Code::InvalidArgument, "OUT_OF_RANGE"),
            ApiError::UnknownShard { .. } => (Code::InvalidArgument, "UNKNOWN_SHARD"),
            ApiError::TooMany { .. } => (Code::InvalidArgument, "TOO_MANY"),
            ApiError::UnknownBlock => (Code::NotFound, "UNKNOWN_BLOCK"),
            ApiError::Misrouted { .. } => (Code::FailedPrecondition, "MISROUTED"),
            ApiError::NotHosted { .. } => (Code::NotFound, "NOT_HOSTED"),
            ApiError::MalformedHandOver { .. } => (Code::InvalidArgument, "MALFORMED_HAND_OVER"),
            ApiError::Unreachable { .. } => (Code::Unavailable, "UNREACHABLE"),
            ApiError::Stopped => (Code::Unavailable, "STOPPED"),
            ApiError::Busy { .. } => (Code::ResourceExhausted, "BUSY"),
            ApiError::NotLoopback => (Code::PermissionDenied, "NOT_LOOPBACK"),
            ApiError::Store(_) => (Code::Internal, "STORE"),
            ApiError::Crosslink(reason) => crosslink_kind(reason),
            ApiError::Transaction(refusal) => refusal_kind(refusal),
        }
    }

    fn metadata(&self) -> Vec<(&'static str, String)> {
        match self {
            ApiError::IdLength { field, found } => vec![("field", (*field).to_owned()), ("found", found.to_string())],
            ApiError::Missing { field } => vec![("field", (*field).to_owned())],
            ApiError::OutOfRange { field, found, most } => {
                vec![("field", (*field).to_owned()), ("found", found.to_string()), ("most", most.to_string())]
            }
            ApiError::UnknownShard { shard, shards } => {
                vec![("shard", shard.to_string()), ("shards", shards.to_string())]
            }
            ApiError::TooMany { found, limit, .. } => vec![("found", found.to_string()), ("limit", limit.to_string())],
            ApiError::Misrouted { chain } | ApiError::NotHosted { chain } | ApiError::Unreachable { chain, .. } => {
                vec![("chain", chain.to_string())]
            }
            ApiError::Busy { limit, .. } => vec![("limit", limit.to_string())],
            ApiError::Crosslink(reason) => crosslink_metadata(reason),
            ApiError::Transaction(refusal) => refusal_metadata(refusal),
            _ => Vec::new(),
        }
    }

    /// The refusal as one result among several.
    pub fn to_refusal(&self) -> v1::Refusal {
        v1::Refusal { reason: self.kind().1.to_owned(), message: self.to_string() }
    }
}

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Status {
        let (code, reason) = error.kind();
        let metadata = error.metadata().into_iter().map(|(key, value)| (key.to_owned(), value));
        let details = ErrorDetails::with_error_info(reason, DOMAIN, metadata.collect::<HashMap<_, _>>());
        Status::with_error_details(code, error.to_string(), details)
    }
}

impl From<StoreFailure> for ApiError {
    fn from(failure: StoreFailure) -> ApiError {
        tracing::error!(%failure, "the store failed");
        ApiError::Store(failure)
    }
}

/// A refusal that has no more to say than code, reason and message.
pub fn refusal(code: Code, reason: &'static str, message: impl Into<String>) -> Status {
    Status::with_error_details(code, message, ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new()))
}

/// The reason of a status that this program made, if it is one.
pub fn reason_of(status: &Status) -> Option<String> {
    status.get_details_error_info().filter(|info| info.domain == DOMAIN).map(|info| info.reason)
}

fn crosslink_kind(reason: &InvalidCrosslink) -> (Code, &'static str) {
    match reason {
        InvalidCrosslink::UnknownShard { .. } => (Code::InvalidArgument, "UNKNOWN_SHARD"),
        InvalidCrosslink::Stale { .. } => (Code::FailedPrecondition, "CROSSLINK_STALE"),
        InvalidCrosslink::Gap { .. } => (Code::FailedPrecondition, "CROSSLINK_GAP"),
        _ => (Code::InvalidArgument, "CROSSLINK_INVALID"),
    }
}

fn crosslink_metadata(reason: &InvalidCrosslink) -> Vec<(&'static str, String)> {
    match reason {
        InvalidCrosslink::Stale { recorded } | InvalidCrosslink::Gap { recorded, .. } => {
            vec![("recorded", recorded.to_string())]
        }
        _ => Vec::new(),
    }
}

fn refusal_kind(refusal: &Refusal) -> (Code, &'static str) {
    match refusal {
        Refusal::Invalid(invalid) => invalid_kind(invalid),
        Refusal::TooLong { .. } => (Code::InvalidArgument, "TOO_LONG"),
        Refusal::PoolFull { .. } => (Code::ResourceExhausted, "POOL_FULL"),
        Refusal::SenderFull { .. } => (Code::ResourceExhausted, "SENDER_FULL"),
        Refusal::NonceTooFar { .. } => (Code::FailedPrecondition, "NONCE_TOO_FAR"),
        Refusal::Replacement { .. } => (Code::FailedPrecondition, "REPLACEMENT_UNDERPRICED"),
    }
}

fn invalid_kind(invalid: &InvalidTransaction) -> (Code, &'static str) {
    match invalid {
        InvalidTransaction::WrongNetwork { .. } => (Code::InvalidArgument, "WRONG_NETWORK"),
        InvalidTransaction::BadSignature => (Code::InvalidArgument, "BAD_SIGNATURE"),
        InvalidTransaction::WrongShard { .. } => (Code::InvalidArgument, "WRONG_SHARD"),
        InvalidTransaction::NonceUsed { .. } => (Code::FailedPrecondition, "NONCE_USED"),
        InvalidTransaction::NonceGap { .. } => (Code::FailedPrecondition, "NONCE_GAP"),
        InvalidTransaction::Overdraft { .. } => (Code::FailedPrecondition, "OVERDRAFT"),
        InvalidTransaction::Expired { .. } => (Code::FailedPrecondition, "EXPIRED"),
        InvalidTransaction::GasLimit { .. } => (Code::InvalidArgument, "GAS_LIMIT"),
        InvalidTransaction::FeeTooLow { .. } => (Code::FailedPrecondition, "FEE_TOO_LOW"),
        InvalidTransaction::ZeroAmount => (Code::InvalidArgument, "ZERO_AMOUNT"),
        InvalidTransaction::LaneFull { .. } => (Code::FailedPrecondition, "LANE_FULL"),
        InvalidTransaction::BatchSize { .. } => (Code::InvalidArgument, "BATCH_SIZE"),
        InvalidTransaction::NoStake => (Code::FailedPrecondition, "NO_STAKE"),
        InvalidTransaction::Bond(_) => (Code::InvalidArgument, "INVALID_BOND"),
        InvalidTransaction::EvidenceSize { .. } => (Code::InvalidArgument, "EVIDENCE_SIZE"),
        InvalidTransaction::CountersFull => (Code::FailedPrecondition, "COUNTERS_FULL"),
    }
}

/// What a program needs to try again.
fn refusal_metadata(refusal: &Refusal) -> Vec<(&'static str, String)> {
    let expected_found =
        |expected: u64, found: u64| vec![("expected", expected.to_string()), ("found", found.to_string())];
    match refusal {
        Refusal::NonceTooFar { expected, found } => expected_found(*expected, *found),
        Refusal::Replacement { max_fee, tip } => vec![("max_fee", max_fee.to_string()), ("tip", tip.to_string())],
        Refusal::Invalid(invalid) => match invalid {
            InvalidTransaction::NonceUsed { expected, found } | InvalidTransaction::NonceGap { expected, found } => {
                expected_found(*expected, *found)
            }
            InvalidTransaction::WrongNetwork { expected, found } => {
                vec![("expected", expected.to_string()), ("found", found.to_string())]
            }
            InvalidTransaction::Overdraft { need, have } => {
                vec![("need", need.to_string()), ("have", have.to_string())]
            }
            InvalidTransaction::Expired { valid_until, slot } => {
                vec![("valid_until", valid_until.to_string()), ("slot", slot.to_string())]
            }
            InvalidTransaction::FeeTooLow { max_fee, base_fee } => {
                vec![("max_fee", max_fee.to_string()), ("base_fee", base_fee.to_string())]
            }
            InvalidTransaction::GasLimit { needed, limit } => {
                vec![("needed", needed.to_string()), ("limit", limit.to_string())]
            }
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_carries_code_reason_domain_and_what_to_do() {
        let invalid = InvalidTransaction::NonceUsed { expected: 7, found: 3 };
        let status = Status::from(ApiError::Transaction(Refusal::Invalid(invalid)));
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert!(status.message().contains("next nonce is 7"));
        let info = status.get_details_error_info().expect("every refusal has one");
        assert_eq!((info.domain.as_str(), info.reason.as_str()), ("kakera", "NONCE_USED"));
        assert_eq!(info.metadata.get("expected").map(String::as_str), Some("7"));
        assert_eq!(reason_of(&status).as_deref(), Some("NONCE_USED"));
        let full = Refusal::PoolFull { transactions: 1, bytes: 2 };
        assert_eq!(ApiError::Transaction(full).kind(), (Code::ResourceExhausted, "POOL_FULL"));
        assert_eq!(reason_of(&Status::unavailable("tonic's own")), None);
    }
}
