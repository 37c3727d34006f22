//! The bench's stores: what is written and not synced may be lost.

use super::super::*;
use crate::store::{Row, StoreFailure, Table};

/// What is written, in order; the first `synced` batches survive a crash.
#[derive(Default, Clone)]
pub(in crate::replica) struct Disk {
    pub(in crate::replica) batches: Vec<Vec<Write>>,
    pub(in crate::replica) synced: usize,
    pub(in crate::replica) rows: BTreeMap<(Table, Vec<u8>), Vec<u8>>,
}

impl Disk {
    pub(in crate::replica) fn apply(&mut self, writes: Vec<Write>) {
        for write in &writes {
            match write {
                Write::Put { table, key, value } => drop(self.rows.insert((*table, key.clone()), value.clone())),
                Write::Delete { table, key } => drop(self.rows.remove(&(*table, key.clone()))),
                Write::Clear { table } => self.rows.retain(|(of, _), _| of != table),
                Write::Below { table, key } => self.rows.retain(|(of, at), _| of != table || at >= key),
            }
        }
        self.batches.push(writes);
    }

    /// Keeps the synced batches and `more` of the others.
    pub(in crate::replica) fn crash(&mut self, more: usize) {
        let kept = (self.synced + more).min(self.batches.len());
        let batches: Vec<_> = self.batches.drain(..kept).collect();
        *self = Disk::default();
        batches.into_iter().for_each(|batch| self.apply(batch));
        self.synced = kept;
    }
}

#[derive(Default)]
#[allow(clippy::disallowed_types, reason = "the store contract is shared between threads")]
pub(in crate::replica) struct MemoryStore(pub(in crate::replica) std::sync::Mutex<Disk>);

impl Store for MemoryStore {
    fn load(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreFailure> {
        Ok(self.0.lock().unwrap().rows.get(&(table, key.to_vec())).cloned())
    }

    fn scan(&self, table: Table, from: &[u8], limit: usize) -> Result<Vec<Row>, StoreFailure> {
        let disk = self.0.lock().unwrap();
        let rows = disk.rows.range((table, from.to_vec())..).take_while(|((of, _), _)| *of == table);
        Ok(rows.take(limit).map(|((_, key), value)| (key.clone(), value.clone())).collect())
    }

    fn last(&self, table: Table) -> Result<Option<Row>, StoreFailure> {
        let disk = self.0.lock().unwrap();
        let last = disk.rows.iter().rev().find(|((of, _), _)| *of == table);
        Ok(last.map(|((_, key), value)| (key.clone(), value.clone())))
    }
}
