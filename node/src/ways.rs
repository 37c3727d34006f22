//! Ways to other validators: their endpoints in the registry, or relays in their place that a fault lab names.

use crate::config::ConfigError;
use kakera_chain::{genesis::Network, units::ValidatorId};
use std::{collections::BTreeMap, net::SocketAddr};

/// The validators that are dialled elsewhere than where the registry says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ways(BTreeMap<ValidatorId, SocketAddr>);

impl Ways {
    /// Looks the names up in the genesis file.
    ///
    /// # Errors
    /// [`ConfigError::Via`] for a name that the genesis file does not have.
    pub fn new(network: &Network, via: &BTreeMap<String, SocketAddr>) -> Result<Ways, ConfigError> {
        let place = |name: &String| network.genesis.validators.iter().position(|entry| entry.name == *name);
        let known = |(name, address): (&String, &SocketAddr)| {
            let id = place(name).and_then(|place| u32::try_from(place).ok()).map(ValidatorId);
            id.map(|id| (id, *address)).ok_or_else(|| ConfigError::Via { name: name.clone() })
        };
        via.iter().map(known).collect::<Result<_, _>>().map(Ways)
    }

    /// Where a validator with this endpoint in the registry is dialled, `host:port`.
    pub fn to(&self, id: ValidatorId, endpoint: &str) -> String {
        self.0.get(&id).map_or_else(|| endpoint.to_owned(), SocketAddr::to_string)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn a_relay_stands_in_for_the_endpoint_of_its_validator_alone() {
        let network = testing::network();
        let relay: SocketAddr = "127.1.2.3:99".parse().expect("an address");
        let ways = Ways::new(&network, &BTreeMap::from([("validator-2".to_owned(), relay)])).expect("known");
        assert_eq!(ways.to(ValidatorId(2), "127.0.0.1:4002"), "127.1.2.3:99");
        assert_eq!(ways.to(ValidatorId(1), "127.0.0.1:4001"), "127.0.0.1:4001");
        let refused = Ways::new(&network, &BTreeMap::from([("nobody".to_owned(), relay)])).expect_err("unknown");
        assert!(refused.to_string().contains("nobody"), "{refused}");
    }
}
