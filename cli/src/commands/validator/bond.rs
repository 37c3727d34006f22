//! `kakera validator bond`: a key, a chain of random numbers, and the seats paid for.

use super::{owner, registry, request, returned};
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
    hash::Hash,
    keys::{PublicKey, SecretKey},
};
use kakera_deploy::{Secrets, files};
use kakera_proto::v1::Validator;
use kakera_shard::Action;
use serde_json::{Value, json};
use std::path::Path;

/// What somebody bonds for.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) role: Role,
    /// Nothing: one, or as many as are bonded already.
    pub(super) seats: Option<u32>,
    pub(super) endpoint: String,
}

/// A validator that is bonded.
#[derive(Clone, Debug)]
pub(super) struct Bonded {
    pub(super) validator: Validator,
    /// As of which epoch.
    pub(super) epoch: u64,
    /// The transaction that bonded it now; nothing: it was bonded already.
    transaction: Option<Hash>,
}

impl Wish {
    /// Seats to be paid for.
    pub(super) fn seats(&self) -> u32 {
        self.seats.unwrap_or(1)
    }
}

impl Bonded {
    /// For a program.
    pub(super) fn value(&self) -> Value {
        let mut value = registry::value(&self.validator, self.epoch, None);
        value["transaction_id"] = json!(self.transaction.map(|id| id.to_string()));
        value
    }

    /// For a person.
    pub(super) fn card(&self) -> String {
        registry::card(&self.validator, self.epoch)
    }
}

/// `kakera validator bond`.
pub(super) async fn run(args: BondArgs, place: &Place) -> Result<()> {
    let client = place.client()?;
    let owner = owner::named(place, &args.from)?;
    let (_, network) = super::join::genesis(&client, None).await?;
    let wish = Wish { role: args.role.into(), seats: args.seats, endpoint: args.endpoint };
    let secrets = secrets_in(&args.directory)?;
    let bonded = bond(place, &client, &network, (&owner, &secrets), &wish).await?;
    place.output.data(&bonded.value(), || bonded.card());
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

/// Bonds a validator, unless it is bonded already, and says what the registry says of it.
pub(super) async fn bond(
    place: &Place,
    client: &Client,
    network: &Network,
    (owner, secrets): (&SecretKey, &Secrets),
    wish: &Wish,
) -> Result<Bonded> {
    let staking = network.genesis.staking.ok_or_else(request::no_stake)?;
    let key = secrets.key.public();
    let address = Address::of(&owner.public());
    if let Some(bonded) = standing(client, &key, Some(&address), wish, &staking).await? {
        place.output.note("this key is bonded already");
        return Ok(bonded);
    }
    check_seats(wish.seats(), &staking)?;
    let terms = (wish.role, wish.seats());
    let commitment = secrets.commitment();
    let bond = Bond::sign(&secrets.key, &address, terms, (wish.endpoint.clone(), commitment), network.id);
    // The shard would refuse it: say so before it is asked for money.
    bond.check(&address, staking.churn_seats, network.id)
        .map_err(|reason| Failure::refused("INVALID_BOND", reason.to_string()))?;
    let value = staking.seat.saturating_mul(wish.seats().into());
    let action = Action::Bond { bond: Box::new(bond) };
    let recorded = request::order(place, client, owner, (action, value), network.genesis.fees.base_fee).await?;
    let (page, found) = request::heard(client, recorded.height, (0, &key.0)).await?;
    let Some(validator) = found else {
        let why = returned::why(client, &recorded).await;
        let message = format!("the beacon sent the bond back, and its value with it: {why}");
        return Err(Failure::refused("RETURNED", message));
    };
    Ok(Bonded { validator, epoch: page.epoch, transaction: Some(recorded.transaction) })
}

/// What is bonded already for a key, if anything is; refused where it is another's or otherwise than wished. Without an
/// owner, anybody's will do.
pub(super) async fn standing(
    client: &Client,
    key: &PublicKey,
    owner: Option<&Address>,
    wish: &Wish,
    staking: &Staking,
) -> Result<Option<Bonded>> {
    let page = client.validators(0, key.0.to_vec()).await?;
    let Some(validator) = page.validators.into_iter().next() else { return Ok(None) };
    check_standing(&validator, owner, wish, staking)?;
    Ok(Some(Bonded { validator, epoch: page.epoch, transaction: None }))
}

fn check_standing(validator: &Validator, owner: Option<&Address>, wish: &Wish, staking: &Staking) -> Result<()> {
    if owner.is_some_and(|owner| validator.owner != owner.to_string()) {
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
    let differs = |what: String, change: String| {
        let message = format!("validator {} is bonded already, {what}: {change}", validator.id);
        Err(Failure::refused("BONDED_OTHERWISE", message))
    };
    let role = role_name(wish.role);
    if validator.role != role {
        let what = format!("as a {} validator, and this asks for --role {role}", validator.role);
        return differs(what, "another role needs another key, in another directory".to_owned());
    }
    if validator.endpoint != wish.endpoint {
        let what = format!("at endpoint {}, and this asks for {}", validator.endpoint, wish.endpoint);
        let change = format!(
            "an endpoint is part of the bond and stays; give --endpoint {}, or let it leave (`kakera validator exit {}`) and \
             bond anew with another key, best with a DNS name",
            validator.endpoint, validator.id
        );
        return differs(what, change);
    }
    // What its seats cost, those that wait in the queue too.
    let held = validator.stake / staking.seat.max(1);
    if let Some(asked) = wish.seats.filter(|asked| u64::from(*asked) != held) {
        let change = match u64::from(asked).checked_sub(held) {
            Some(more) => format!("`kakera validator top-up {} {more}` adds what is missing", validator.id),
            None => "seats only ever leave all at once, by `kakera validator exit`; leave --seats out".to_owned(),
        };
        return differs(format!("with a stake of {held} seats, and this asks for {asked}"), change);
    }
    Ok(())
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Beacon => "beacon",
        Role::Shard => "shard",
    }
}

/// Refuses what the churn limit does not let in at once.
pub(super) fn check_seats(seats: u32, staking: &Staking) -> Result<()> {
    let most = staking.churn_seats;
    kakera_chain::bond::check_seats(seats, most)
        .map_err(|_| Failure::Usage(format!("{seats} seats at once; this network lets 1 to {most} in")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;

    const STAKING: Staking = Staking { seat: 10, churn_seats: 4, reward: 1, reporter_per_mille: 100 };

    #[test]
    fn a_key_that_is_bonded_stays_as_it_is_and_says_so() {
        let bonded = Validator {
            id: 7,
            role: "shard".to_owned(),
            seats: 2,
            stake: 30,
            endpoint: "a.example:7".to_owned(),
            status: "active".to_owned(),
            ..Validator::default()
        };
        let wish =
            |seats: Option<u32>, endpoint: &str| Wish { role: Role::Shard, seats, endpoint: endpoint.to_owned() };
        let said = |wish: &Wish| check_standing(&bonded, None, wish, &STAKING).unwrap_err().to_string();
        for fitting in [None, Some(3)] {
            check_standing(&bonded, None, &wish(fitting, "a.example:7"), &STAKING).unwrap();
        }
        let more = said(&wish(Some(5), "a.example:7"));
        assert!(more.contains("a stake of 3 seats, and this asks for 5"), "{more}");
        assert!(more.contains("`kakera validator top-up 7 2`"), "{more}");
        assert!(said(&wish(Some(2), "a.example:7")).contains("leave --seats out"));
        let moved = said(&wish(None, "b.example:7"));
        assert!(moved.contains("at endpoint a.example:7, and this asks for b.example:7"), "{moved}");
        assert!(moved.contains("exit 7") && moved.contains("DNS"), "{moved}");
        assert!(said(&Wish { role: Role::Beacon, ..wish(None, "a.example:7") }).contains("--role beacon"));
        let gone = Validator { status: "withdrawn".to_owned(), ..bonded.clone() };
        let gone = check_standing(&gone, None, &wish(None, "b.example:7"), &STAKING).unwrap_err().to_string();
        assert!(gone.contains("a new one needs a new key"), "{gone}");
    }
}
