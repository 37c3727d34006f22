//! What the registry says: all validators, one of them, and those who lost their stake.

use crate::{
    client::Client,
    failure::{Failure, Result},
    locate::Place,
    output::{grouped, table},
};
use kakera_chain::keys::parse_hex;
use kakera_proto::v1::{ChainSeats, Slashing, Validator};
use serde_json::{Value, json};

/// `kakera validator list`.
pub(super) async fn list(place: &Place) -> Result<()> {
    let (epoch, validators) = all(&place.client()?).await?;
    let value = json!({"epoch": epoch, "validators": validators.iter().map(to_json).collect::<Vec<_>>()});
    place.output.data(&value, || {
        let rows: Vec<Vec<String>> = validators.iter().map(row).collect();
        let head = ["id", "name", "role", "seats", "status", "stake", "rewards", "sits in", "next", "endpoint"];
        format!("epoch {epoch}\n{}", table(&head, &rows))
    });
    Ok(())
}

/// `kakera validator status`.
pub(super) async fn status(text: &str, place: &Place) -> Result<()> {
    let client = place.client()?;
    let (epoch, validator) = find(&client, text).await?;
    let slashed = if validator.status == "slashed" { slashing(&client, validator.id).await? } else { None };
    place.output.data(&value(&validator, epoch, slashed.as_ref()), || {
        let mut text = card(&validator, epoch);
        if let Some(slashed) = &slashed {
            text.push_str(&format!("\nslashed   {}", why(slashed)));
        }
        text
    });
    Ok(())
}

/// `kakera validator slashings`.
pub(super) async fn slashings(place: &Place) -> Result<()> {
    let client = place.client()?;
    let (mut found, mut from) = (Vec::new(), 0);
    loop {
        let page = client.slashings(from).await?;
        found.extend(page.slashings);
        if page.next <= from {
            break;
        }
        from = page.next;
    }
    // Beyond the last number there is nobody, and the answer says which epoch it is.
    let epoch = client.validators(u32::MAX, Vec::new()).await?.epoch;
    let value = json!({"epoch": epoch, "slashings": found.iter().map(slashing_json).collect::<Vec<_>>()});
    place.output.data(&value, || {
        if found.is_empty() {
            return "nobody lost its stake".to_owned();
        }
        let row = |slashed: &Slashing| {
            vec![
                slashed.validator.to_string(),
                slashed.name.clone(),
                slashed.at_epoch.to_string(),
                chain(&slashed.role, slashed.shard),
                what(slashed),
                grouped(slashed.burned),
                grouped(slashed.reporter_share),
                slashed.reporter.clone(),
            ]
        };
        let head = ["id", "name", "in epoch", "chain", "offence", "burned", "reward", "reporter"];
        table(&head, &found.iter().map(row).collect::<Vec<_>>())
    });
    Ok(())
}

/// All validators, and the epoch that they are of.
pub(super) async fn all(client: &Client) -> Result<(u64, Vec<Validator>)> {
    let (mut found, mut from) = (Vec::new(), 0);
    loop {
        let page = client.validators(from, Vec::new()).await?;
        found.extend(page.validators);
        // A node that answers with an earlier page would be asked for ever.
        if page.next <= from {
            return Ok((page.epoch, found));
        }
        from = page.next;
    }
}

/// The validator that a person means, and the epoch: by key, number or name.
pub(super) async fn find(client: &Client, text: &str) -> Result<(u64, Validator)> {
    let missing = || Failure::NotFound(format!("no validator is called {text}; `kakera validator list` names them"));
    if let Some(key) = parse_hex(text) {
        let page = client.validators(0, key.to_vec()).await?;
        let found = page.validators.into_iter().next();
        return Ok((page.epoch, found.ok_or_else(missing)?));
    }
    if let Ok(id) = text.parse::<u32>() {
        let page = client.validators(id, Vec::new()).await?;
        let found = page.validators.into_iter().next().filter(|validator| validator.id == id);
        return Ok((page.epoch, found.ok_or_else(missing)?));
    }
    let (epoch, all) = all(client).await?;
    let found = all.into_iter().find(|validator| !text.is_empty() && validator.name == text);
    Ok((epoch, found.ok_or_else(missing)?))
}

async fn slashing(client: &Client, id: u32) -> Result<Option<Slashing>> {
    Ok(client.slashings(id).await?.slashings.into_iter().next().filter(|slashed| slashed.validator == id))
}

/// A chain's name.
fn chain(role: &str, shard: u32) -> String {
    if role == "beacon" { "beacon".to_owned() } else { format!("shard {shard}") }
}

/// Chains and the seats in each.
fn places(seats: &[ChainSeats]) -> String {
    let one = |place: &ChainSeats| match place.seats {
        1 => chain(&place.role, place.shard),
        seats => format!("{} x{seats}", chain(&place.role, place.shard)),
    };
    let all: Vec<String> = seats.iter().map(one).collect();
    if all.is_empty() { "-".to_owned() } else { all.join(", ") }
}

/// A status in words.
pub(super) fn words(validator: &Validator) -> String {
    let epoch = validator.status_epoch;
    match (validator.status.as_str(), validator.begun) {
        ("active", _) => "active".to_owned(),
        ("exiting", None) => format!("exiting since epoch {epoch}, waits for its turn"),
        ("exiting", Some(begun)) => format!("exiting, not drawn from epoch {begun} on"),
        ("withdrawable", _) => format!("withdrawable, paid out in epoch {epoch}"),
        ("withdrawn" | "slashed", _) => format!("{} in epoch {epoch}", validator.status),
        (other, _) => format!("{other} since epoch {epoch}"),
    }
}

fn row(validator: &Validator) -> Vec<String> {
    vec![
        validator.id.to_string(),
        if validator.name.is_empty() { "-".to_owned() } else { validator.name.clone() },
        validator.role.clone(),
        validator.seats.to_string(),
        words(validator),
        grouped(validator.stake),
        grouped(validator.rewards),
        places(&validator.seated),
        places(&validator.named),
        validator.endpoint.clone(),
    ]
}

/// Everything about one validator.
pub(super) fn card(validator: &Validator, epoch: u64) -> String {
    let name = if validator.name.is_empty() { String::new() } else { format!(" ({})", validator.name) };
    let mut lines = vec![
        format!("validator {}{name}, {}", validator.id, validator.role),
        format!("status    {} (it is epoch {epoch})", words(validator)),
        format!("seats     {}", validator.seats),
        format!("stake     {}, and {} earned", grouped(validator.stake), grouped(validator.rewards)),
        format!("sits in   {}; next epoch: {}", places(&validator.seated), places(&validator.named)),
        format!("owner     {}", validator.owner),
        format!("endpoint  {}", validator.endpoint),
        format!("key       {}", hex::encode(&validator.key)),
    ];
    if validator.joining_seats > 0 {
        let (seats, ahead) = (validator.joining_seats, validator.seats_ahead);
        lines.insert(2, format!("queue     {seats} of its seats wait to become active, {ahead} of others before them"));
    }
    lines.join("\n")
}

/// One validator for a program: what a list says of it, the epoch, and what it lost its stake for.
pub(super) fn value(validator: &Validator, epoch: u64, slashed: Option<&Slashing>) -> Value {
    let mut value = to_json(validator);
    value["epoch"] = json!(epoch);
    value["slashing"] = slashed.map(slashing_json).into();
    value
}

/// For a program.
fn to_json(validator: &Validator) -> Value {
    let seats = |all: &[ChainSeats]| -> Vec<Value> {
        all.iter().map(|place| json!({"chain": chain(&place.role, place.shard), "seats": place.seats})).collect()
    };
    json!({
        "id": validator.id, "name": validator.name, "role": validator.role, "key": hex::encode(&validator.key),
        "seats": validator.seats, "endpoint": validator.endpoint, "owner": validator.owner,
        "status": validator.status, "status_epoch": validator.status_epoch, "begun": validator.begun,
        "stake": validator.stake, "rewards": validator.rewards, "seated": seats(&validator.seated),
        "named": seats(&validator.named), "joining_seats": validator.joining_seats,
        "seats_ahead": validator.seats_ahead, "last_seated": validator.last_seated,
    })
}

/// What somebody did, in words.
fn what(slashed: &Slashing) -> String {
    match slashed.offence.as_str() {
        "equivocation" => format!("two messages of seq {}", slashed.seq),
        "conflicting-finality" => {
            format!("signed conflicting blocks of heights {} and {}", slashed.low_height, slashed.high_height)
        }
        other => other.to_owned(),
    }
}

fn why(slashed: &Slashing) -> String {
    format!(
        "{} on {} in epoch {}; {} burned, {} to {}",
        what(slashed),
        chain(&slashed.role, slashed.shard),
        slashed.epoch,
        grouped(slashed.burned),
        grouped(slashed.reporter_share),
        slashed.reporter
    )
}

fn slashing_json(slashed: &Slashing) -> Value {
    json!({
        "validator": slashed.validator, "name": slashed.name, "key": hex::encode(&slashed.key),
        "at_epoch": slashed.at_epoch, "chain": chain(&slashed.role, slashed.shard), "epoch": slashed.epoch,
        "offence": slashed.offence, "seq": slashed.seq, "low_height": slashed.low_height,
        "high_height": slashed.high_height, "reporter": slashed.reporter,
        "reporter_share": slashed.reporter_share, "burned": slashed.burned, "from_shard": slashed.from_shard,
        "receipt_seq": slashed.receipt_seq,
    })
}
