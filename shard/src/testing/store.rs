//! A store in memory.

use kakera_chain::store::{Row, Store, StoreFailure, Table, Write};
use std::collections::BTreeMap;

/// A store in memory.
#[derive(Clone, Default)]
pub(crate) struct MemoryStore {
    pub(crate) rows: BTreeMap<(Table, Vec<u8>), Vec<u8>>,
}

impl MemoryStore {
    pub(crate) fn write(&mut self, writes: Vec<Write>) {
        for write in writes {
            match write {
                Write::Put { table, key, value } => self.rows.insert((table, key), value),
                Write::Delete { table, key } => self.rows.remove(&(table, key)),
                Write::Clear { table } => {
                    self.rows.retain(|(other, _), _| *other != table);
                    None
                }
                Write::Below { table, key } => {
                    self.rows.retain(|(other, row), _| *other != table || *row >= key);
                    None
                }
            };
        }
    }
}

impl Store for MemoryStore {
    fn load(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreFailure> {
        Ok(self.rows.get(&(table, key.to_vec())).cloned())
    }

    fn scan(&self, table: Table, from: &[u8], limit: usize) -> Result<Vec<Row>, StoreFailure> {
        let rows = self.rows.range((table, from.to_vec())..).take_while(|((other, _), _)| *other == table);
        Ok(rows.take(limit).map(|((_, key), value)| (key.clone(), value.clone())).collect())
    }

    fn last(&self, table: Table) -> Result<Option<Row>, StoreFailure> {
        let row = self.rows.iter().rfind(|((other, _), _)| *other == table);
        Ok(row.map(|((_, key), value)| (key.clone(), value.clone())))
    }
}
