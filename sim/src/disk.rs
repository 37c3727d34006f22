//! A node's disk: what was not synced may be lost in a crash, a batch is whole or absent, and damage is noticed.

use crate::random::Random;
use kakera_chain::store::{Row, Store, StoreFailure, Table, Write};
use std::collections::{BTreeMap, BTreeSet};

type Key = (Table, Vec<u8>);

#[derive(Debug, Default)]
struct Contents {
    rows: BTreeMap<Key, Vec<u8>>,
    /// For each batch that is not synced: what stood in its rows before, in the order of writing.
    unsynced: Vec<Vec<(Key, Option<Vec<u8>>)>>,
    /// Rows whose bytes changed under the store: reading them fails, as a checksum would.
    damaged: BTreeSet<Key>,
}

/// A node's disk; it outlives the node's process.
#[derive(Debug, Default)]
#[allow(clippy::disallowed_types, reason = "the store contract is shared between threads; a world has one")]
pub struct Disk(std::sync::Mutex<Contents>);

impl Disk {
    fn contents(&self) -> std::sync::MutexGuard<'_, Contents> {
        self.0.lock().expect("no holder panics")
    }

    /// Applies a batch. `synced`: it, and everything before it, survives a crash.
    pub fn write(&self, batch: Vec<Write>, synced: bool) {
        let mut contents = self.contents();
        let mut before = Vec::with_capacity(if synced { 0 } else { batch.len() });
        for write in batch {
            let (key, old) = match write {
                Write::Put { table, key, value } => {
                    let key = (table, key);
                    contents.damaged.remove(&key);
                    let old = contents.rows.insert(key.clone(), value);
                    (key, old)
                }
                Write::Delete { table, key } => {
                    let key = (table, key);
                    contents.damaged.remove(&key);
                    let old = contents.rows.remove(&key);
                    (key, old)
                }
            };
            if !synced {
                before.push((key, old));
            }
        }
        if synced {
            contents.unsynced.clear();
        } else {
            contents.unsynced.push(before);
        }
    }

    /// The machine loses power: of the batches that were not synced, the last ones are gone, how many is drawn. The one
    /// that was being written is torn, and therefore gone as a whole. Returns how many were lost.
    pub fn crash(&self, random: &mut Random) -> usize {
        let mut contents = self.contents();
        let lost = random.index(contents.unsynced.len() + 1);
        for _ in 0..lost {
            let Some(batch) = contents.unsynced.pop() else { break };
            for (key, old) in batch.into_iter().rev() {
                match old {
                    Some(value) => drop(contents.rows.insert(key, value)),
                    None => drop(contents.rows.remove(&key)),
                }
            }
        }
        // What survived the crash is on the disk.
        contents.unsynced.clear();
        lost
    }

    /// A row's bytes change; which is drawn. False: there is none.
    pub fn damage(&self, random: &mut Random) -> bool {
        let mut contents = self.contents();
        let rows = contents.rows.len();
        let Some(key) = contents.rows.keys().nth(random.index(rows)).cloned() else { return false };
        contents.damaged.insert(key);
        true
    }

    /// Whether any row is damaged.
    pub fn is_damaged(&self) -> bool {
        !self.contents().damaged.is_empty()
    }

    /// Everything is gone: a new disk.
    pub fn wipe(&self) {
        *self.contents() = Contents::default();
    }

    /// A copy of everything on it, as a backup is.
    pub fn copy(&self) -> Disk {
        let contents = self.contents();
        let copy = Contents { rows: contents.rows.clone(), ..Contents::default() };
        Disk(copy.into())
    }

    /// Puts a copy back in place of what is there.
    pub fn replace(&self, copy: &Disk) {
        let rows = copy.contents().rows.clone();
        *self.contents() = Contents { rows, ..Contents::default() };
    }

    /// Bytes of all rows.
    pub fn bytes(&self) -> usize {
        self.contents().rows.iter().map(|((_, key), value)| key.len() + value.len()).sum()
    }
}

impl Contents {
    fn check(&self, key: &Key) -> Result<(), StoreFailure> {
        match self.damaged.contains(key) {
            true => Err(StoreFailure { table: key.0, reason: "a row's checksum does not match".to_owned() }),
            false => Ok(()),
        }
    }

    fn row(&self, (key, value): (&Key, &Vec<u8>)) -> Result<Row, StoreFailure> {
        self.check(key)?;
        Ok((key.1.clone(), value.clone()))
    }
}

impl Store for Disk {
    fn load(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreFailure> {
        let contents = self.contents();
        let key = (table, key.to_vec());
        contents.check(&key)?;
        Ok(contents.rows.get(&key).cloned())
    }

    fn scan(&self, table: Table, from: &[u8], limit: usize) -> Result<Vec<Row>, StoreFailure> {
        let contents = self.contents();
        let rows = contents.rows.range((table, from.to_vec())..).take_while(|((of, _), _)| *of == table);
        rows.take(limit).map(|row| contents.row(row)).collect()
    }

    fn last(&self, table: Table) -> Result<Option<Row>, StoreFailure> {
        let contents = self.contents();
        // No key is as long as this one, so none of the table lies above it.
        let last = contents.rows.range(..=(table, vec![u8::MAX; 256])).next_back();
        last.filter(|((of, _), _)| *of == table).map(|row| contents.row(row)).transpose()
    }
}

#[cfg(test)]
mod tests;
