//! Cases: message DAGs with their observers, as files hold them.

use crate::committee::InvalidCommittee;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use thiserror::Error;

/// Members times messages above which a case is refused.
pub const CASE_CELLS: usize = 1 << 26;
/// The name of the root block.
pub const ROOT: &str = "G";

/// Name of a validator: a number or a word.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Name {
    /// A number.
    Number(u64),
    /// A word.
    Word(String),
}

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(out),
            Self::Word(word) => word.fmt(out),
        }
    }
}

/// One message DAG and its observers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// Name of the case.
    pub id: String,
    /// What kind of case it is; for people only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    /// The committee.
    pub validators: Vec<CaseValidator>,
    /// Messages in topological order.
    pub messages: Vec<CaseMessage>,
    /// Observers.
    pub views: Vec<CaseView>,
}

/// A validator of a case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseValidator {
    /// Its name.
    pub name: Name,
    /// Its weight.
    pub weight: u64,
}

/// A message of a case: also a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseMessage {
    /// Its name.
    pub id: String,
    /// Who says it.
    pub sender: Name,
    /// Its claimed place in the sender's thread; not used.
    #[serde(default)]
    pub seq: u64,
    /// The block it extends; "G" is the root.
    pub parent: String,
    /// Latest message seen, by validator.
    #[serde(default)]
    pub justification: BTreeMap<String, String>,
}

/// One observer of a case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseView {
    /// Its name.
    pub name: String,
    /// What it received, in order; what lacks a justification waits.
    pub delivery_order: Vec<String>,
    /// Messages to judge as blocks.
    #[serde(default)]
    pub candidates: Vec<String>,
}

/// Why a case cannot be studied.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CaseError {
    /// The weights are no committee.
    #[error(transparent)]
    Committee(#[from] InvalidCommittee),
    /// Two validators have one name.
    #[error("validator {name} is there twice")]
    ValidatorTwice {
        /// The name.
        name: String,
    },
    /// Two messages have one name, or one is named like the root.
    #[error("message {id} is there twice")]
    MessageTwice {
        /// The name.
        id: String,
    },
    /// A name of no validator.
    #[error("{name} is no validator")]
    UnknownValidator {
        /// The name.
        name: String,
    },
    /// A name of no message, or of one that comes later (a cycle, or not topological).
    #[error("{id} is no message that comes before")]
    UnknownMessage {
        /// The name.
        id: String,
    },
    /// A name of no view.
    #[error("there is no view {name}; there are: {known}")]
    UnknownView {
        /// The name.
        name: String,
        /// The names of the case's views.
        known: String,
    },
    /// A justification names somebody else's message.
    #[error("message {id} cites {cited} for {validator}, who did not send it")]
    WrongSender {
        /// The citing message.
        id: String,
        /// The cited one.
        cited: String,
        /// Whom it is cited for.
        validator: String,
    },
    /// More than [`CASE_CELLS`].
    #[error("{validators} validators times {messages} messages are too many")]
    TooLarge {
        /// Validators.
        validators: usize,
        /// Messages.
        messages: usize,
    },
    /// More messages than a picture may have.
    #[error("{messages} messages are more than the {limit} that can be drawn")]
    TooLargeToDraw {
        /// Messages.
        messages: usize,
        /// How many may be drawn.
        limit: usize,
    },
}

impl Case {
    /// The observer of this name; without a name the first one.
    ///
    /// # Errors
    /// [`CaseError::UnknownView`]: nobody is called so, or a name is asked for and there is none.
    pub fn view(&self, name: Option<&str>) -> Result<Option<&CaseView>, CaseError> {
        let Some(name) = name else { return Ok(self.views.first()) };
        let found = self.views.iter().find(|view| view.name == name);
        found.map(Some).ok_or_else(|| {
            let known: Vec<&str> = self.views.iter().map(|view| view.name.as_str()).take(16).collect();
            CaseError::UnknownView { name: name.to_owned(), known: known.join(", ") }
        })
    }
}
