//! Quotas in Redis 7, single or Cluster: a hash for each tenant, `quota:tenant:acme`, for people to read as well.
//!
//! A record is put by one script on one key, so that records that race are put in some order. Like all that is
//! replicated asynchronously, a hash may be an older one after a failover, until the next event.

use std::time::Duration;

use futures_util::future::try_join_all;
use redis::{Cmd, RedisError};

use super::{
    record::{FIELDS, Record},
    store::{Put, QuotaFailure, QuotaStore, Reply},
};
use crate::{edge::redis::link::Link, key::Prefix, script::Script, store::redis::Settings};

/// Quotas in Redis.
pub struct RedisQuotas {
    link: Link,
    prefix: Prefix,
    keep: Duration,
    put: Script,
}

impl RedisQuotas {
    /// Does not wait for Redis. Each operation has the budget; a record is forgotten so long after its reset.
    ///
    /// # Errors
    /// The settings contradict themselves or a certificate cannot be read.
    pub fn start(
        settings: &Settings,
        prefix: &Prefix,
        keep: Duration,
        budget: Duration,
    ) -> Result<Self, RedisError> {
        Ok(Self {
            link: Link::new(settings, budget)?,
            prefix: prefix.clone(),
            keep,
            put: Script::new(&[include_str!("scripts/put.lua")]),
        })
    }

    fn key(&self, tenant: &str) -> String {
        format!("{}{tenant}", self.prefix.as_str())
    }

    async fn put_one(&self, record: &Record) -> Result<Put, QuotaFailure> {
        let key = self.key(&record.tenant);
        let values = record.values();
        let ends = record.ends_ms(self.keep);
        let arguments = |command: &mut Cmd| {
            command.arg(1).arg(&key).arg(&values).arg(ends);
        };
        let word: String = self.link.run(&self.put, arguments).await?;
        match word.as_str() {
            "applied" => Ok(Put::Applied),
            "duplicate" => Ok(Put::Duplicate),
            "stale" => Ok(Put::Stale),
            "conflict" => Ok(Put::Conflict),
            "occupied" => Ok(Put::Occupied),
            _ => Err(QuotaFailure::Unavailable),
        }
    }

    async fn get_one(&self, tenant: &str) -> Result<Option<Record>, QuotaFailure> {
        let mut command = redis::cmd("HMGET");
        command.arg(self.key(tenant)).arg(&FIELDS);
        let values: Vec<Option<String>> = self.link.query(&command).await?;
        let Some(values) = values.into_iter().collect::<Option<Vec<_>>>() else {
            return Ok(None);
        };
        let record = Record::read(tenant, &values);
        if record.is_none() {
            tracing::warn!(tenant, "the quota in redis makes no sense and is left out");
        }
        Ok(record)
    }
}

impl QuotaStore for RedisQuotas {
    fn put<'a>(&'a self, records: &'a [Record]) -> Reply<'a, Vec<Put>> {
        Box::pin(async move {
            // In order: two of one tenant in one batch are told apart as they came.
            let mut done = Vec::with_capacity(records.len());
            for record in records {
                done.push(self.put_one(record).await?);
            }
            Ok(done)
        })
    }

    fn get<'a>(&'a self, tenants: &'a [String]) -> Reply<'a, Vec<Option<Record>>> {
        Box::pin(try_join_all(
            tenants.iter().map(|tenant| self.get_one(tenant)),
        ))
    }
}
