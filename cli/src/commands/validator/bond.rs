//! `kakera validator bond`: a key, a chain of random numbers, and the seats paid for.

use super::{owner, registry, request};
use crate::{
    args::BondArgs,
    client::Client,
    failure::{Failure, Result},
    locate::Place,
};
use kakera_chain::{
    address::Address,
    bond::Bond,
    genesis::{Network, Role, Staking},
    keys::SecretKey,
};
use kakera_deploy::{Secrets, files};
use kakera_proto::v1::Validator;
use kakera_shard::Action;
use std::path::Path;

/// What somebody bonds for.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) role: Role,
    pub(super) seats: u32,
    pub(super) endpoint: String,
}

/// `kakera validator bond`.
pub(super) async fn run(args: BondArgs, place: &Place) -> Result<()> {
    let client = place.client()?;
    let owner = owner::named(place, &args.from)?;
    let (_, network) = super::join::genesis(&client, None).await?;
    let wish = Wish { role: args.role.into(), seats: args.seats, endpoint: args.endpoint };
    let secrets = secrets_in(&args.directory)?;
    let (epoch, validator) = bond(place, &client, &network, (&owner, &secrets), &wish).await?;
    place.output.data(&registry::to_json(&validator), || registry::card(&validator, epoch));
    Ok(())
}

/// The secrets of a directory; fresh ones where there are none.
pub(super) fn secrets_in(dir: &Path) -> Result<Secrets> {
    files::make_private(dir)?;
    if dir.join("key").exists() || dir.join("randomness").exists() {
        return Ok(Secrets::read(dir)?);
    }
    let secrets = Secrets::fresh()?;
    secrets.write(dir)?;
    Ok(secrets)
}

/// Bonds a validator, unless it is bonded already, and says what the registry says of it, and in which epoch.
pub(super) async fn bond(
    place: &Place,
    client: &Client,
    network: &Network,
    (owner, secrets): (&SecretKey, &Secrets),
    wish: &Wish,
) -> Result<(u64, Validator)> {
    let staking = network.genesis.staking.ok_or_else(request::no_stake)?;
    check_seats(wish.seats, &staking)?;
    let key = secrets.key.public();
    let address = Address::of(&owner.public());
    let known = client.validators(0, key.0.to_vec()).await?;
    if let Some(validator) = known.validators.first() {
        return mine(validator, &address, known.epoch, place);
    }
    let terms = (wish.role, wish.seats);
    let commitment = secrets.commitment();
    let bond = Bond::sign(&secrets.key, &address, terms, (wish.endpoint.clone(), commitment), network.id);
    // The shard would refuse it: say so before it is asked for money.
    bond.check(&address, staking.churn_seats, network.id)
        .map_err(|reason| Failure::refused("INVALID_BOND", reason.to_string()))?;
    let value = staking.seat.saturating_mul(wish.seats.into());
    let action = Action::Bond { bond: Box::new(bond) };
    let height = request::order(place, client, owner, (action, value), network.genesis.fees.base_fee).await?;
    let (page, found) = request::heard(client, height, (0, &key.0)).await?;
    let returned = || {
        let message = "the beacon sent the bond back, and its value with it: there is no room for another validator, \
                       or somebody bonded the same key first";
        Failure::refused("RETURNED", message)
    };
    Ok((page.epoch, found.ok_or_else(returned)?))
}

/// A validator that is bonded already.
fn mine(validator: &Validator, owner: &Address, epoch: u64, place: &Place) -> Result<(u64, Validator)> {
    if validator.owner != owner.to_string() {
        let message = format!("the key is bonded already, by {}, as validator {}", validator.owner, validator.id);
        return Err(Failure::refused("KEY_TAKEN", message));
    }
    if matches!(validator.status.as_str(), "withdrawn" | "slashed") {
        let message = format!(
            "validator {} is {}: a new one needs a new key, in another directory",
            validator.id,
            registry::words(validator)
        );
        return Err(Failure::refused("KEY_TAKEN", message));
    }
    place.output.note("this key is bonded already");
    Ok((epoch, validator.clone()))
}

/// Refuses what the churn limit does not let in at once.
pub(super) fn check_seats(seats: u32, staking: &Staking) -> Result<()> {
    let most = staking.churn_seats;
    kakera_chain::bond::check_seats(seats, most)
        .map_err(|_| Failure::Usage(format!("{seats} seats at once; this network lets 1 to {most} in")))
}
