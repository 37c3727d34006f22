//! Why a command failed, and the exit code that says so to a script.

use serde_json::{Value, json};
use thiserror::Error;

/// Why a command failed. Each message says what to do.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// The command line asks for something that makes no sense.
    #[error("{0}")]
    Usage(String),
    /// No node answers.
    #[error("{0}")]
    Connection(String),
    /// A node, or the state of things, says no.
    #[error("refused ({reason}): {message}")]
    Refused {
        /// UPPER_SNAKE_CASE, stable.
        reason: String,
        /// For a person.
        message: String,
    },
    /// It does not exist.
    #[error("{0}")]
    NotFound(String),
    /// A simulated network broke a promise.
    #[error("{0}")]
    Broken(String),
    /// A check of the demo did not hold.
    #[error("{0}")]
    Check(String),
    /// Anything else.
    #[error("{0:#}")]
    Other(#[from] anyhow::Error),
}

/// The result of a command.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// A refusal that this program decides itself.
    pub(crate) fn refused(reason: &str, message: impl Into<String>) -> Failure {
        Failure::Refused { reason: reason.to_owned(), message: message.into() }
    }

    /// 2 usage, 3 connection, 4 refused, 5 not found, 6 a simulated network failed, 1 anything else.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Failure::Usage(_) => 2,
            Failure::Connection(_) => 3,
            Failure::Refused { .. } => 4,
            Failure::NotFound(_) => 5,
            Failure::Broken(_) => 6,
            Failure::Check(_) | Failure::Other(_) => 1,
        }
    }

    /// For a program.
    pub(crate) fn to_json(&self) -> Value {
        let kind = match self {
            Failure::Usage(_) => "usage",
            Failure::Connection(_) => "connection",
            Failure::Refused { .. } => "refused",
            Failure::NotFound(_) => "not_found",
            Failure::Broken(_) => "broken",
            Failure::Check(_) => "check",
            Failure::Other(_) => "other",
        };
        match self {
            Failure::Refused { reason, message } => {
                json!({"error": {"kind": kind, "reason": reason, "message": message}})
            }
            other => json!({"error": {"kind": kind, "message": other.to_string()}}),
        }
    }
}

impl From<kakera_deploy::Error> for Failure {
    fn from(error: kakera_deploy::Error) -> Failure {
        if matches!(error, kakera_deploy::Error::Profile { .. }) {
            Failure::Usage(error.to_string())
        } else if error.is_not_found() {
            Failure::NotFound(error.to_string())
        } else if error.is_refusal() {
            Failure::refused("NETWORK_STATE", error.to_string())
        } else {
            Failure::Other(error.into())
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;
    use kakera_chain::genesis::RiskLimit;
    use kakera_deploy::Profile;

    #[test]
    fn a_profile_that_is_refused_says_which_value_was_given() {
        let dir = tempfile::tempdir().unwrap();
        for (capture, found) in [(2.0, "2.0"), (-0.5, "-0.5"), (f64::NAN, "NaN")] {
            let risk = Some(RiskLimit { adversary_per_mille: 250, capture, stall: 1.0 });
            let refused = kakera_deploy::create(&dir.path().join("net"), &Profile { risk, ..Profile::rotation() });
            let failure = Failure::from(refused.unwrap_err());
            let expected = format!("risk.capture is {found}, but must be a probability, 0 to 1");
            assert!(failure.exit_code() == 2 && failure.to_string().contains(&expected), "{failure}");
        }
    }

    #[test]
    fn every_kind_has_its_exit_code() {
        let refused = Failure::refused("NONCE_USED", "use the next");
        assert_eq!(refused.exit_code(), 4);
        assert_eq!(refused.to_json()["error"]["reason"], "NONCE_USED");
        assert_eq!(Failure::Connection(String::new()).exit_code(), 3);
        let missing = kakera_deploy::Error::UnknownProcess { name: "x".to_owned(), known: "y".to_owned() };
        assert_eq!(Failure::from(missing).exit_code(), 5);
        let not_up = kakera_deploy::Error::NotUp { dir: "/tmp".into() };
        assert_eq!(Failure::from(not_up).exit_code(), 4);
    }
}
