//! Taking the interlock to another machine: a small JSON file that says what was said, and whose it is.
//!
//! ```json
//! {
//!   "kakera_interlock": 1,
//!   "network": "64 hexadecimal digits", "chain": "Beacon" or {"Shard": 3}, "key": "64 hexadecimal digits",
//!   "epoch": 4, "root": "64 hexadecimal digits", "next_seq": 17, "finality_height": 260,
//!   "checksum": "64 hexadecimal digits"
//! }
//! ```
//!
//! It is exported after the process has been stopped for good; what a process says after its export is not in it.

use super::SignGuard;
use kakera_chain::{
    BlockId, codec,
    hash::{Hash, NetworkId},
    keys::{PublicKey, parse_hex},
    replica::SignState,
    units::{ChainId, Epoch},
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

const VERSION: u32 = 1;
/// Bytes of such a file at most.
const MAX_BYTES: usize = 4096;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Portable {
    kakera_interlock: u32,
    network: String,
    chain: ChainId,
    key: PublicKey,
    epoch: u64,
    root: String,
    next_seq: u64,
    finality_height: u64,
    checksum: String,
}

/// Why an interlock is not taken; the one here is as it was.
#[derive(Debug, Error)]
pub enum ImportRefused {
    /// Too long for what it should be.
    #[error("the file has {found} bytes, an interlock at most {limit}")]
    TooLong {
        /// Bytes present.
        found: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Not such a file.
    #[error("the file is no exported interlock: {0}")]
    Format(#[from] serde_json::Error),
    /// Of a version that is not known here.
    #[error("the file is of version {found}, known here is version {VERSION}")]
    Version {
        /// The file's.
        found: u32,
    },
    /// A number in hexadecimal text that is none.
    #[error("{field} is not 64 hexadecimal digits")]
    Hex {
        /// Which.
        field: &'static str,
    },
    /// It was changed or damaged.
    #[error("the checksum does not match: the file was changed or damaged")]
    Checksum,
    /// Of another network.
    #[error("the file is of network {found}")]
    OtherNetwork {
        /// The file's.
        found: NetworkId,
    },
    /// Of another chain.
    #[error("the file is of {found}")]
    OtherChain {
        /// The file's.
        found: ChainId,
    },
    /// Of another validator.
    #[error("the file is of the validator with key {found}")]
    OtherKey {
        /// The file's.
        found: PublicKey,
    },
    /// It remembers less than what is here.
    #[error(
        "the file stops at epoch {}, message {}, height {}; here more was said: epoch {}, message {}, height {}",
        found.epoch, found.next_seq, found.finality_height, held.epoch, held.next_seq, held.finality_height
    )]
    GoesBack {
        /// The file's.
        found: SignState,
        /// What is here.
        held: SignState,
    },
    /// The disk refuses.
    #[error("{0:#}")]
    Machine(anyhow::Error),
}

impl SignGuard {
    /// What was said, as the text of a file that another machine imports.
    pub fn export(&self, key: PublicKey) -> String {
        let state = self.read();
        let portable = Portable {
            kakera_interlock: VERSION,
            network: self.network.to_string(),
            chain: self.chain,
            key,
            epoch: state.epoch.0,
            root: Hash(state.root.0).to_string(),
            next_seq: state.next_seq,
            finality_height: state.finality_height,
            checksum: checksum(self.network, self.chain, key, state).to_string(),
        };
        let mut text = serde_json::to_string_pretty(&portable).expect("a struct of texts and numbers");
        text.push('\n');
        text
    }

    /// Takes what was said on another machine by the validator with this key; it is on the disk when this returns.
    ///
    /// # Errors
    /// [`ImportRefused`]: damaged, somebody else's, or less than what is remembered here.
    pub fn import(&self, text: &str, key: PublicKey) -> Result<SignState, ImportRefused> {
        if text.len() > MAX_BYTES {
            return Err(ImportRefused::TooLong { found: text.len(), limit: MAX_BYTES });
        }
        let portable: Portable = serde_json::from_str(text)?;
        if portable.kakera_interlock != VERSION {
            return Err(ImportRefused::Version { found: portable.kakera_interlock });
        }
        let hex = |field, text: &str| parse_hex(text).ok_or(ImportRefused::Hex { field });
        let network = NetworkId(Hash(hex("network", &portable.network)?));
        let found = SignState {
            epoch: Epoch(portable.epoch),
            root: BlockId(hex("root", &portable.root)?),
            next_seq: portable.next_seq,
            finality_height: portable.finality_height,
        };
        if hex("checksum", &portable.checksum)? != checksum(network, portable.chain, portable.key, found).0 {
            return Err(ImportRefused::Checksum);
        }
        if network != self.network {
            return Err(ImportRefused::OtherNetwork { found: network });
        }
        if portable.chain != self.chain {
            return Err(ImportRefused::OtherChain { found: portable.chain });
        }
        if portable.key != key {
            return Err(ImportRefused::OtherKey { found: portable.key });
        }
        let held = self.read();
        if !held.is_within(found) {
            return Err(ImportRefused::GoesBack { found, held });
        }
        self.write(found).map_err(ImportRefused::Machine)?;
        Ok(found)
    }
}

fn checksum(network: NetworkId, chain: ChainId, key: PublicKey, state: SignState) -> Hash {
    let said = (state.epoch, state.root, state.next_seq, state.finality_height);
    Hash::of(&[b"kakera/interlock/1", &codec::encode(&(network, chain, key, said))])
}
