//! The embedded store of quotas: no Redis needed. In memory, or in a file that survives `kill -9`.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use super::{
    record::Record,
    store::{Put, QuotaFailure, QuotaStore, Reply},
};
use crate::store::embedded::Clock;

/// Tenant → record, as JSON.
const QUOTAS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("quotas-1");

/// The file cannot be used.
#[derive(Debug)]
pub struct FileError(Box<dyn std::error::Error + Send + Sync>);

impl std::fmt::Display for FileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "quotas: {}", self.0)
    }
}

impl std::error::Error for FileError {}

impl<E: Into<redb::Error>> From<E> for FileError {
    fn from(error: E) -> Self {
        Self(Box::new(error.into()))
    }
}

/// The embedded store.
pub struct Embedded(Arc<Inner>);

struct Inner {
    /// Held while records are written, so that they are put one batch after the other.
    disk: Mutex<Option<Database>>,
    records: RwLock<HashMap<String, Record>>,
    most: usize,
    keep: Duration,
    clock: Clock,
}

impl Embedded {
    /// In memory only, for at most so many tenants.
    #[must_use]
    pub fn in_memory(most: usize, keep: Duration, clock: Clock) -> Self {
        Self::new(None, HashMap::new(), most, keep, clock)
    }

    /// In the file at `path`, made if it is not there.
    ///
    /// # Errors
    /// The file cannot be opened, is locked by another redis-proxy, or is damaged.
    pub fn open(path: &Path, most: usize, keep: Duration, clock: Clock) -> Result<Self, FileError> {
        let database = Database::create(path)?;
        let write = database.begin_write()?;
        write.open_table(QUOTAS)?;
        write.commit()?;
        let mut records = HashMap::new();
        for row in database.begin_read()?.open_table(QUOTAS)?.iter()? {
            let (tenant, json) = row?;
            let record = serde_json::from_slice(json.value())
                .map_err(|_| FileError(format!("damaged record of {}", tenant.value()).into()))?;
            records.insert(tenant.value().to_owned(), record);
        }
        Ok(Self::new(Some(database), records, most, keep, clock))
    }

    fn new(
        disk: Option<Database>,
        records: HashMap<String, Record>,
        most: usize,
        keep: Duration,
        clock: Clock,
    ) -> Self {
        Self(Arc::new(Inner {
            disk: Mutex::new(disk),
            records: RwLock::new(records),
            most,
            keep,
            clock,
        }))
    }
}

impl Inner {
    fn now_ms(&self) -> u64 {
        (self.clock)().checked_div(1_000).unwrap_or_default()
    }

    fn is_over(&self, record: &Record, now_ms: u64) -> bool {
        record.ends_ms(self.keep) <= now_ms
    }

    /// What becomes of each record; what is written; who is forgotten to make room.
    fn judge(&self, records: &[Record]) -> (Vec<Put>, HashMap<String, Record>, Vec<String>) {
        let now_ms = self.now_ms();
        let known = self.records.read().unwrap_or_else(PoisonError::into_inner);
        let mut written: HashMap<String, Record> = HashMap::new();
        let mut over = Vec::new();
        let mut fresh = 0_usize;
        let mut puts = Vec::with_capacity(records.len());
        for record in records {
            let there = written.get(&record.tenant).or_else(|| {
                let there = known.get(&record.tenant);
                there.filter(|there| !self.is_over(there, now_ms))
            });
            let put = match there {
                Some(there) => Put::over(there, record),
                // As in Redis, where a key that is set to end in the past is gone at once.
                None if self.is_over(record, now_ms) => {
                    puts.push(Put::Applied);
                    continue;
                }
                None if known.contains_key(&record.tenant) => Put::Applied,
                None => {
                    if known.len().saturating_add(fresh).saturating_sub(over.len()) >= self.most
                        && over.is_empty()
                    {
                        let gone = known.values().filter(|old| self.is_over(old, now_ms));
                        over = gone.map(|old| old.tenant.clone()).collect();
                    }
                    let live = known.len().saturating_add(fresh).saturating_sub(over.len());
                    if live >= self.most {
                        Put::Full
                    } else {
                        fresh = fresh.saturating_add(1);
                        Put::Applied
                    }
                }
            };
            if put == Put::Applied {
                written.insert(record.tenant.clone(), record.clone());
            }
            puts.push(put);
        }
        over.retain(|tenant| !written.contains_key(tenant));
        (puts, written, over)
    }

    fn put(&self, records: &[Record]) -> Result<Vec<Put>, FileError> {
        let disk: MutexGuard<'_, Option<Database>> =
            self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        let (puts, written, over) = self.judge(records);
        if let Some(database) = &*disk
            && !(written.is_empty() && over.is_empty())
        {
            let write = database.begin_write()?;
            {
                let mut table = write.open_table(QUOTAS)?;
                for tenant in &over {
                    table.remove(tenant.as_str())?;
                }
                for (tenant, record) in &written {
                    let json = serde_json::to_vec(record).map_err(|e| FileError(Box::new(e)))?;
                    table.insert(tenant.as_str(), json.as_slice())?;
                }
            }
            write.commit()?;
        }
        let mut known = self.records.write().unwrap_or_else(PoisonError::into_inner);
        for tenant in &over {
            known.remove(tenant);
        }
        known.extend(written);
        Ok(puts)
    }

    fn get(&self, tenants: &[String]) -> Vec<Option<Record>> {
        let now_ms = self.now_ms();
        let known = self.records.read().unwrap_or_else(PoisonError::into_inner);
        let get = |tenant: &String| {
            let record = known.get(tenant)?;
            (!self.is_over(record, now_ms)).then(|| record.clone())
        };
        tenants.iter().map(get).collect()
    }
}

impl QuotaStore for Embedded {
    fn put<'a>(&'a self, records: &'a [Record]) -> Reply<'a, Vec<Put>> {
        let (inner, records) = (Arc::clone(&self.0), records.to_vec());
        Box::pin(async move {
            let done = tokio::task::spawn_blocking(move || inner.put(&records)).await;
            match done {
                Ok(Ok(puts)) => Ok(puts),
                Ok(Err(error)) => {
                    tracing::error!(%error, "quotas cannot be written");
                    Err(QuotaFailure::Unavailable)
                }
                Err(_) => Err(QuotaFailure::Unavailable),
            }
        })
    }

    fn get<'a>(&'a self, tenants: &'a [String]) -> Reply<'a, Vec<Option<Record>>> {
        Box::pin(async move { Ok(self.0.get(tenants)) })
    }
}
