//! The lists on disk, for the embedded store (C6): a redb file. A transaction is on disk when it is committed.

use std::path::Path;

use redb::{
    Database, ReadableDatabase as _, ReadableTable as _, TableDefinition, WriteTransaction,
};
use serde::{Serialize, de::DeserializeOwned};
use wire::lists::{Kind, ListName, Member};

use super::{
    ledger::{Head, Write},
    store::LISTS,
};

/// List and version → record, as JSON.
type Table = TableDefinition<'static, (&'static str, u64), &'static [u8]>;

const ENTRIES: Table = TableDefinition::new("entries-1");
const GONE: Table = TableDefinition::new("gone-1");
const AUDIT: Table = TableDefinition::new("audit-1");
const EVENTS: Table = TableDefinition::new("events-1");
/// The version is 0.
const HEADS: Table = TableDefinition::new("heads-1");

/// The file cannot be used.
#[derive(Debug)]
pub struct DiskError(Box<dyn std::error::Error + Send + Sync>);

impl DiskError {
    pub(super) fn io(error: std::io::Error) -> Self {
        Self(Box::new(error))
    }

    pub(super) fn no_randomness() -> Self {
        Self("the system has no randomness".into())
    }

    fn damaged(list: &str, version: u64) -> Self {
        Self(format!("damaged record {version} of {list}").into())
    }
}

impl std::fmt::Display for DiskError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "lists: {}", self.0)
    }
}

impl std::error::Error for DiskError {}

impl<E: Into<redb::Error>> From<E> for DiskError {
    fn from(error: E) -> Self {
        Self(Box::new(error.into()))
    }
}

/// The file.
pub struct Disk {
    database: Database,
}

impl Disk {
    /// Opens the file or makes it.
    ///
    /// # Errors
    /// It cannot be opened, is locked, or is damaged.
    pub fn open(path: &Path) -> Result<Self, DiskError> {
        let database = Database::create(path)?;
        let write = database.begin_write()?;
        for table in [ENTRIES, GONE, AUDIT, EVENTS, HEADS] {
            write.open_table(table)?;
        }
        write.commit()?;
        Ok(Self { database })
    }

    /// Hands out every record.
    ///
    /// # Errors
    /// The file cannot be read or a record makes no sense: an entry that is acknowledged is never skipped.
    pub fn restore(&self, mut take: impl FnMut(ListName, Write)) -> Result<(), DiskError> {
        let mut each = |table, make: fn(u64, &[u8]) -> Option<Write>| {
            let read = self.database.begin_read()?;
            for record in read.open_table(table)?.iter()? {
                let (key, value) = record?;
                let (name, version) = key.value();
                let list = LISTS.into_iter().find(|list| list.as_str() == name);
                let (Some(list), Some(write)) = (list, make(version, value.value())) else {
                    return Err(DiskError::damaged(name, version));
                };
                take(list, write);
            }
            Ok(())
        };
        each(HEADS, |_, json| Some(Write::Head(read::<Head>(json)?)))?;
        each(ENTRIES, |at, json| {
            Some(Write::Entry(at, Some(read(json)?)))
        })?;
        each(AUDIT, |at, json| Some(Write::Audit(at, Some(read(json)?))))?;
        each(EVENTS, |at, json| Some(Write::Event(at, Some(read(json)?))))?;
        each(GONE, |at, json| {
            let (kind, value): (Kind, String) = read(json)?;
            Some(Write::Gone(at, Some(Member::parse(kind, &value).ok()?)))
        })
    }

    /// Writes all of it, or nothing.
    ///
    /// # Errors
    /// The disk failed.
    pub fn commit(&self, writes: &[(ListName, Write)]) -> Result<(), DiskError> {
        let transaction = self.database.begin_write()?;
        {
            let mut entries = Records::open(&transaction, ENTRIES)?;
            let mut gone = Records::open(&transaction, GONE)?;
            let mut audit = Records::open(&transaction, AUDIT)?;
            let mut events = Records::open(&transaction, EVENTS)?;
            let mut heads = Records::open(&transaction, HEADS)?;
            for (list, write) in writes {
                match write {
                    Write::Entry(at, entry) => entries.put(*list, *at, entry.as_ref())?,
                    Write::Audit(at, change) => audit.put(*list, *at, change.as_ref())?,
                    Write::Event(at, change) => events.put(*list, *at, change.as_ref())?,
                    Write::Head(head) => heads.put(*list, 0, Some(head))?,
                    Write::Gone(at, member) => {
                        let member = member.map(|member| (member.kind(), member.to_string()));
                        gone.put(*list, *at, member.as_ref())?;
                    }
                }
            }
        }
        transaction.commit()?;
        Ok(())
    }
}

fn read<T: DeserializeOwned>(json: &[u8]) -> Option<T> {
    serde_json::from_slice(json).ok()
}

struct Records<'t>(redb::Table<'t, (&'static str, u64), &'static [u8]>);

impl<'t> Records<'t> {
    fn open(transaction: &'t WriteTransaction, table: Table) -> Result<Self, DiskError> {
        Ok(Self(transaction.open_table(table)?))
    }

    fn put(
        &mut self,
        list: ListName,
        version: u64,
        record: Option<&impl Serialize>,
    ) -> Result<(), DiskError> {
        let key = (list.as_str(), version);
        match record {
            Some(record) => {
                let json = serde_json::to_vec(record).map_err(|e| DiskError(Box::new(e)))?;
                self.0.insert(key, json.as_slice())?;
            }
            None => drop(self.0.remove(key)?),
        }
        Ok(())
    }
}
