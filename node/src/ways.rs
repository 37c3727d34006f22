//! Ways to other validators: their endpoints in the genesis file, or relays in their place that a fault lab names.

use crate::config::{ConfigError, validator};
use kakera_chain::{genesis::Network, units::ValidatorId};
use std::{collections::BTreeMap, net::SocketAddr};

/// The validators that are dialled elsewhere than where the genesis file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ways(BTreeMap<ValidatorId, SocketAddr>);

impl Ways {
    /// Looks the names up in the registry.
    ///
    /// # Errors
    /// [`ConfigError::Via`] for a name that the registry does not have.
    pub fn new(network: &Network, via: &BTreeMap<String, SocketAddr>) -> Result<Ways, ConfigError> {
        let place = |name: &String| network.genesis.validators.iter().position(|entry| entry.name == *name);
        let known = |(name, address): (&String, &SocketAddr)| {
            let id = place(name).and_then(|place| u32::try_from(place).ok()).map(ValidatorId);
            id.map(|id| (id, *address)).ok_or_else(|| ConfigError::Via { name: name.clone() })
        };
        via.iter().map(known).collect::<Result<_, _>>().map(Ways)
    }

    /// Where a validator is dialled, `host:port`; none for one that the registry does not have.
    pub fn to(&self, network: &Network, id: ValidatorId) -> Option<String> {
        let entry = validator(network, id)?;
        Some(self.0.get(&id).map_or_else(|| entry.endpoint.clone(), SocketAddr::to_string))
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
        assert_eq!(ways.to(&network, ValidatorId(2)).as_deref(), Some("127.1.2.3:99"));
        assert_eq!(ways.to(&network, ValidatorId(1)).as_deref(), Some("127.0.0.1:4001"));
        assert_eq!(ways.to(&network, ValidatorId(9)), None);
        let refused = Ways::new(&network, &BTreeMap::from([("nobody".to_owned(), relay)])).expect_err("unknown");
        assert!(refused.to_string().contains("nobody"), "{refused}");
    }
}
