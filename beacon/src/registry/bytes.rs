//! The registry's canonical bytes.
//!
//! Without stake nothing but commitments ever changes, and the bytes are a plain list: a count (u32), then of each
//! validator key, role, seats, owner, endpoint, commitment and status. With stake they begin with a count that no list
//! has, 2^32 - 1, followed by what staking adds and then every validator with its number.

use super::{Life, Registry, Status, Validator};
use borsh::{
    BorshDeserialize, BorshSerialize,
    io::{Error, ErrorKind, Read, Result, Write},
};
use kakera_chain::units::{Epoch, ValidatorId};
use std::{collections::BTreeMap, sync::Arc};

/// In place of a count: staking follows.
const STAKED: u32 = u32::MAX;

impl BorshSerialize for Registry {
    fn serialize<W: Write>(&self, writer: &mut W) -> Result<()> {
        let count = u32::try_from(self.validators.len()).map_err(|_| ErrorKind::InvalidData)?;
        match &self.life {
            None => count.serialize(writer)?,
            Some(life) => (STAKED, life, count).serialize(writer)?,
        }
        for (id, validator) in &self.validators {
            match &self.life {
                None => {
                    let Validator { key, role, seats, owner, endpoint, commitment, status, .. } = &**validator;
                    (key, role, seats, owner, endpoint, commitment, status).serialize(writer)?;
                }
                Some(_) => (id, &**validator).serialize(writer)?,
            }
        }
        Ok(())
    }
}

impl BorshDeserialize for Registry {
    fn deserialize_reader<R: Read>(reader: &mut R) -> Result<Registry> {
        let mut count = u32::deserialize_reader(reader)?;
        let life = if count == STAKED {
            let life = Life::deserialize_reader(reader)?;
            count = u32::deserialize_reader(reader)?;
            Some(life)
        } else {
            None
        };
        if usize::try_from(count).is_ok_and(|count| count > Registry::MAX) {
            return Err(Error::new(ErrorKind::InvalidData, "more validators than a registry may have"));
        }
        let mut validators = BTreeMap::new();
        for number in 0..count {
            let (id, validator) = match &life {
                None => (ValidatorId(number), bare(reader)?),
                Some(_) => <(ValidatorId, Validator)>::deserialize_reader(reader)?,
            };
            validators.insert(id, Arc::new(validator));
        }
        Ok(Registry::from_parts(validators, life))
    }
}

fn bare<R: Read>(reader: &mut R) -> Result<Validator> {
    let read = BorshDeserialize::deserialize_reader(reader)?;
    let (key, role, seats, owner, endpoint, commitment, status): (_, _, _, _, _, _, Status) = read;
    if status != Status::Active {
        return Err(Error::new(ErrorKind::InvalidData, "without stake all validators are active"));
    }
    let (stake, rewards, seated, slashing) = (0, 0, Epoch(0), None);
    Ok(Validator { key, role, seats, owner, endpoint, commitment, status, stake, rewards, seated, slashing })
}
