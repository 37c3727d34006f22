//! What is wrong on every link, and what has passed there: shared by those who change it and the relays.

use super::faults::{Change, Faults};
use kakera_chain::genesis::Role;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::watch;

/// Every direction between two different nodes.
pub(super) struct Table {
    nodes: usize,
    committees: Vec<(Role, Option<u16>)>,
    ways: Vec<Way>,
}

/// One direction: what one node says to another, on whatever connection.
pub(super) struct Way {
    faults: watch::Sender<Faults>,
    /// Bytes that arrived.
    pub(super) bytes: AtomicU64,
    /// Bytes with a flipped bit.
    pub(super) flipped: AtomicU64,
    /// Connections that the first dialled and that reached the second.
    pub(super) connections: AtomicU64,
    /// Of those, ended by a fault; and dials that were refused by one.
    pub(super) broken: AtomicU64,
}

/// One direction, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkState {
    /// Who says it.
    pub from: String,
    /// Who hears it.
    pub to: String,
    /// What is wrong, in words; empty when nothing is.
    pub faults: String,
    /// Bytes that arrived.
    pub bytes: u64,
    /// Bytes that arrived with a flipped bit.
    pub flipped: u64,
    /// Connections that `from` opened to `to`.
    pub connections: u64,
    /// Connections from `from` to `to` that a fault ended or refused.
    pub broken: u64,
}

impl Table {
    pub(super) fn new(committees: &[(Role, Option<u16>)]) -> Table {
        let nodes = committees.len();
        let ways = (0..nodes * nodes).map(|_| Way::new()).collect();
        Table { nodes, committees: committees.to_vec(), ways }
    }

    pub(super) fn way(&self, from: usize, to: usize) -> &Way {
        &self.ways[from * self.nodes + to]
    }

    pub(super) fn pairs(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let nodes = self.nodes;
        (0..nodes).flat_map(move |from| (0..nodes).filter(move |to| *to != from).map(move |to| (from, to)))
    }

    /// Whether the listener says nothing on a connection but that it heard: so it is among members of one committee.
    pub(super) fn only_dialler_speaks(&self, dialler: usize, listener: usize) -> bool {
        self.committees[dialler] == self.committees[listener]
    }
}

impl Way {
    fn new() -> Way {
        Way {
            faults: watch::Sender::new(Faults::default()),
            bytes: AtomicU64::new(0),
            flipped: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            broken: AtomicU64::new(0),
        }
    }

    pub(super) fn change(&self, change: Change) {
        self.faults.send_modify(|faults| faults.apply(change));
    }

    pub(super) fn watch(&self) -> watch::Receiver<Faults> {
        self.faults.subscribe()
    }

    pub(super) fn state(&self, from: String, to: String) -> LinkState {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LinkState {
            from,
            to,
            faults: self.faults.borrow().to_string(),
            bytes: read(&self.bytes),
            flipped: read(&self.flipped),
            connections: read(&self.connections),
            broken: read(&self.broken),
        }
    }
}
