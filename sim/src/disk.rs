//! A node's disk: what was not synced may be lost in a crash, a batch is whole or absent, and damage is noticed.

use crate::random::Random;
use kakera_chain::store::{Row, Store, StoreFailure, Table, Write};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

type Key = (Table, Vec<u8>);
type Value = Arc<Vec<u8>>;

/// No key is as long as this, so none of a table lies above such a one.
const LONGEST: usize = 256;
/// Rows shorter than this are not shared.
const SHARED: usize = 512;

/// Blocks that stand on many disks of a world: their bytes are held once.
#[derive(Debug, Default)]
#[allow(clippy::disallowed_types, reason = "disks share it between threads; a world has one")]
pub struct Shelf(std::sync::Mutex<BTreeMap<Vec<u8>, Value>>);

impl Shelf {
    /// The same bytes, held once wherever they stand under the same key.
    fn place(&self, key: &[u8], value: Vec<u8>) -> Value {
        let mut held = self.0.lock().expect("no holder panics");
        match held.get(key) {
            Some(same) if **same == value => same.clone(),
            Some(_) => Arc::new(value),
            None => held.entry(key.to_vec()).or_insert(Arc::new(value)).clone(),
        }
    }
}

#[derive(Debug, Default)]
struct Contents {
    rows: BTreeMap<Key, Value>,
    /// For each batch that is not synced: what stood in its rows before, in the order of writing.
    unsynced: Vec<Vec<(Key, Option<Value>)>>,
    /// Rows whose bytes changed under the store: reading them fails, as a checksum would.
    damaged: BTreeSet<Key>,
}

/// A node's disk; it outlives the node's process.
#[derive(Debug, Default)]
#[allow(clippy::disallowed_types, reason = "the store contract is shared between threads; a world has one")]
pub struct Disk(std::sync::Mutex<Contents>, Arc<Shelf>);

impl Disk {
    fn contents(&self) -> std::sync::MutexGuard<'_, Contents> {
        self.0.lock().expect("no holder panics")
    }

    /// An empty disk whose blocks lie on a shelf.
    pub fn on(shelf: &Arc<Shelf>) -> Disk {
        Disk(Contents::default().into(), shelf.clone())
    }

    /// Applies a batch. `synced`: it, and everything before it, survives a crash.
    pub fn write(&self, batch: Vec<Write>, synced: bool) {
        let mut contents = self.contents();
        let mut before = Vec::with_capacity(if synced { 0 } else { batch.len() });
        for write in batch {
            match write {
                Write::Put { table: table @ Table::Blocks, key, value } if value.len() >= SHARED => {
                    let value = self.1.place(&key, value);
                    before.push(contents.set((table, key), Some(value)));
                }
                Write::Put { table, key, value } => before.push(contents.set((table, key), Some(Arc::new(value)))),
                Write::Delete { table, key } => before.push(contents.set((table, key), None)),
                Write::Clear { table } => contents.remove(table, None, &mut before),
                Write::Below { table, key } => contents.remove(table, Some(key), &mut before),
            }
            if synced {
                before.clear();
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
        Disk(copy.into(), self.1.clone())
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
    /// Sets a row, or removes it; says what stood there before.
    fn set(&mut self, key: Key, value: Option<Value>) -> (Key, Option<Value>) {
        self.damaged.remove(&key);
        let old = match value {
            Some(value) => self.rows.insert(key.clone(), value),
            None => self.rows.remove(&key),
        };
        (key, old)
    }

    /// Removes a table's rows below a key, or all of them.
    fn remove(&mut self, table: Table, below: Option<Vec<u8>>, before: &mut Vec<(Key, Option<Value>)>) {
        let end = below.map_or(Bound::Included((table, vec![u8::MAX; LONGEST])), |key| Bound::Excluded((table, key)));
        let rows = self.rows.range((Bound::Included((table, Vec::new())), end));
        let keys: Vec<Key> = rows.map(|(key, _)| key.clone()).collect();
        before.extend(keys.into_iter().map(|key| self.set(key, None)));
    }

    fn check(&self, key: &Key) -> Result<(), StoreFailure> {
        match self.damaged.contains(key) {
            true => Err(StoreFailure { table: key.0, reason: "a row's checksum does not match".to_owned() }),
            false => Ok(()),
        }
    }

    fn row(&self, (key, value): (&Key, &Value)) -> Result<Row, StoreFailure> {
        self.check(key)?;
        Ok((key.1.clone(), value.to_vec()))
    }
}

impl Store for Disk {
    fn load(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreFailure> {
        let contents = self.contents();
        let key = (table, key.to_vec());
        contents.check(&key)?;
        Ok(contents.rows.get(&key).map(|value| value.to_vec()))
    }

    fn scan(&self, table: Table, from: &[u8], limit: usize) -> Result<Vec<Row>, StoreFailure> {
        let contents = self.contents();
        let rows = contents.rows.range((table, from.to_vec())..).take_while(|((of, _), _)| *of == table);
        rows.take(limit).map(|row| contents.row(row)).collect()
    }

    fn last(&self, table: Table) -> Result<Option<Row>, StoreFailure> {
        let contents = self.contents();
        let last = contents.rows.range(..=(table, vec![u8::MAX; LONGEST])).next_back();
        last.filter(|((of, _), _)| *of == table).map(|row| contents.row(row)).transpose()
    }
}

#[cfg(test)]
mod tests;
