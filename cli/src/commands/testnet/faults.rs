//! `kakera testnet partition`, `heal`, `delay` and the rest: through the supervisor, which keeps the relays.

use crate::{args::FaultCommand, failure::Result, locate::Place, output::table};
use anyhow::Context;
use kakera_deploy::{
    Network,
    links::{Between, Change, Cut, LinkState},
    settings, supervisor,
};
use serde_json::{Value, json};

/// Runs one of the commands.
pub(super) async fn run(command: FaultCommand, place: &Place) -> Result<()> {
    let network = place.network()?;
    match &command {
        FaultCommand::Links { all } => links(&network, *all, place),
        FaultCommand::Disk { name, bytes, .. } => {
            settings::limit_disk(&network, name, *bytes)?;
            let words = bytes.map_or("has no limit".to_owned(), |bytes| format!("takes files up to {bytes} bytes"));
            settled(network, place, name, "disk_limit_bytes", json!(bytes), format!("its disk {words}")).await
        }
        FaultCommand::Clock { name, offset_ms } => {
            settings::offset_clock(&network, name, *offset_ms)?;
            let words = format!("its clock is {offset_ms} ms ahead of the machine's");
            settled(network, place, name, "clock_offset_ms", json!(offset_ms), words).await
        }
        changing => {
            let (between, change) = changing.change().context("a command that changes links")?;
            let ways = supervisor::request_change(&network, &between, change)?;
            let words = words(change);
            let value = json!({
                "change": words, "directions": ways, "from": between.from, "to": between.to, "one_way": between.one_way,
            });
            place.output.data(&value, || format!("{words}: {}, {ways} directions", named(&between)));
            Ok(())
        }
    }
}

fn words(change: Change) -> &'static str {
    match change {
        Change::Cut(Cut::Closed) => "cut",
        Change::Cut(Cut::Silent) => "cut silently",
        Change::Delay { .. } => "delayed",
        Change::Throttle { .. } => "throttled",
        Change::Corrupt { .. } => "corrupted",
        Change::Reset => "reset",
        Change::Heal => "healed",
    }
}

fn named(between: &Between) -> String {
    let from = between.from.join(", ");
    let to = if between.to.is_empty() { "the others".to_owned() } else { between.to.join(", ") };
    match (between.one_way, between.inside) {
        (true, _) => format!("from {from} to {to}"),
        (false, true) => format!("all links of {from}"),
        (false, false) => format!("between {from} and {to}"),
    }
}

/// Restarts a running node, so that what was set counts.
async fn settled(network: Network, place: &Place, name: &str, key: &str, value: Value, words: String) -> Result<()> {
    let running = network.state(name)?.running().is_some();
    if running {
        let (network, name) = (network.clone(), name.to_owned());
        let restarted = tokio::task::spawn_blocking(move || supervisor::request_restart(&network, &name));
        restarted.await.context("restarting")??;
    }
    let value = json!({"name": name, key: value, "restarted": running});
    place.output.data(&value, || {
        let when = if running { "restarted" } else { "not running: it counts from the next start" };
        format!("{name}: {words} ({when})")
    });
    Ok(())
}

fn links(network: &Network, all: bool, place: &Place) -> Result<()> {
    let states = supervisor::request_links(network)?;
    let shown: Vec<&LinkState> = states.iter().filter(|state| all || !state.faults.is_empty()).collect();
    let value = serde_json::to_value(&shown).context("links as JSON")?;
    place.output.data(&value, || {
        if shown.is_empty() {
            return format!("nothing is wrong in any of {} directions; --all lists them", states.len());
        }
        let row = |state: &&LinkState| {
            let number = |value: u64| value.to_string();
            vec![
                state.from.clone(),
                state.to.clone(),
                if state.faults.is_empty() { "-".to_owned() } else { state.faults.clone() },
                number(state.bytes),
                number(state.connections),
                number(state.broken),
                number(state.flipped),
            ]
        };
        let rows: Vec<Vec<String>> = shown.iter().map(row).collect();
        table(&["from", "to", "wrong", "bytes", "connections", "broken", "flipped"], &rows)
    });
    Ok(())
}
