//! The lists in Redis 7, single or Cluster (C5).
//!
//! All keys of a list have its tag, `kong:edge:{deny}:entries`, so they are in one slot, and every operation
//! is one script: entry, version, audit record and event change together or not at all, on Redis's clock.
//!
//! Acknowledged entries survive a `kill -9` of Redis if it runs with `appendonly yes` and `appendfsync
//! always`. Whether it does is asked at the start and every [`LOOK`]; if not, or if it does not tell, the
//! log says so loudly. A Cluster that promotes a replica may still lose what that replica had not heard of.

mod line;
pub(crate) mod link;

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use redis::{Cmd, RedisError};
use tokio::time::sleep;
use wire::lists::ListName;

use super::{
    body::NewEntry,
    entry::{Entry, EntryId},
    random,
    store::{
        Added, Bounds, Change, Changes, Durability, EdgeFailure, EdgeStore, Entries, Fate, LISTS,
        Log, MAX_PAGE, Note, Reply, Seen,
    },
};
use crate::{key::Prefix, script::Script, store::redis::Settings};
use link::Link;

/// How often Redis is asked whether it is durable.
const LOOK: Duration = Duration::from_secs(30);
/// How often it is asked until it answers.
const FIRST_LOOK: Duration = Duration::from_millis(200);
/// Entries taken off a list by one script: it holds up everything else in Redis.
const EXPIRED: usize = 100;
/// Most fates of each kind in one script.
const MAX_FATES: usize = 5_000;
const PARTS: [&str; 9] = [
    "head", "entries", "members", "order", "ends", "gone", "audit", "outbox", "events",
];

/// The lists in Redis.
pub struct RedisLists {
    inner: Arc<Inner>,
}

struct Inner {
    link: Link,
    bounds: Bounds,
    keys: HashMap<ListName, Vec<String>>,
    scripts: Scripts,
    durability: AtomicU8,
}

struct Scripts {
    add: Script,
    remove: Script,
    expire: Script,
    get: Script,
    entries: Script,
    log: Script,
    pending: Script,
    delivered: Script,
}

impl Scripts {
    fn new() -> Self {
        const LEDGER: &str = include_str!("scripts/ledger.lua");
        let script = |text| Script::new(&[LEDGER, text]);
        Self {
            add: script(include_str!("scripts/add.lua")),
            remove: script(include_str!("scripts/remove.lua")),
            expire: script(include_str!("scripts/expire.lua")),
            get: script(include_str!("scripts/get.lua")),
            entries: script(include_str!("scripts/entries.lua")),
            log: script(include_str!("scripts/log.lua")),
            pending: script(include_str!("scripts/pending.lua")),
            delivered: script(include_str!("scripts/delivered.lua")),
        }
    }
}

impl RedisLists {
    /// Does not wait for Redis. Each operation has the budget.
    ///
    /// # Errors
    /// The settings contradict themselves or a certificate cannot be read.
    pub fn start(
        settings: &Settings,
        prefix: &Prefix,
        bounds: Bounds,
        budget: Duration,
    ) -> Result<Self, RedisError> {
        let name = |list: ListName, part| format!("{}{{{list}}}:{part}", prefix.as_str());
        let keys = |list| (list, PARTS.map(|part| name(list, part)).to_vec());
        let inner = Arc::new(Inner {
            link: Link::new(settings, budget)?,
            bounds,
            keys: LISTS.map(keys).into(),
            scripts: Scripts::new(),
            durability: AtomicU8::new(UNKNOWN),
        });
        tokio::spawn(watch(Arc::downgrade(&inner)));
        Ok(Self { inner })
    }
}

const UNKNOWN: u8 = 0;
const VOLATILE: u8 = 1;
const DURABLE: u8 = 2;

/// Asks whether Redis is durable, for as long as the store lives.
async fn watch(store: Weak<Inner>) {
    let mut told = None;
    while let Some(inner) = store.upgrade() {
        let durability = inner.look().await;
        if let Ok(durability) = durability
            && told != Some(durability)
        {
            told = Some(durability);
            inner.durability.store(durability, Ordering::Relaxed);
            match durability {
                DURABLE => tracing::info!("the lists' redis is durable"),
                VOLATILE => tracing::error!(
                    "THE LISTS CAN BE LOST: redis must run with `appendonly yes` and `appendfsync always`"
                ),
                _ => tracing::error!(
                    "THE LISTS MAY BE LOST: redis does not tell whether it runs with `appendonly yes` and \
                     `appendfsync always`; allow CONFIG GET to see"
                ),
            }
        }
        drop(inner);
        sleep(if told.is_some() { LOOK } else { FIRST_LOOK }).await;
    }
}

impl Inner {
    /// The worst of the primaries that have a list.
    ///
    /// # Errors
    /// Redis is not there.
    async fn look(&self) -> Result<u8, EdgeFailure> {
        // Told apart from "may not be asked": there it answers, but with an error.
        self.link.query::<String>(&redis::cmd("PING")).await?;
        let mut worst = DURABLE;
        for list in LISTS {
            let slot = crc16::State::<crc16::XMODEM>::calculate(list.as_str().as_bytes()) & 0x3FFF;
            let mut appendonly = redis::cmd("CONFIG");
            appendonly.arg("GET").arg("append*");
            let durable = match self.link.ask_primary(&appendonly, slot).await {
                Ok(answer) => match redis::from_redis_value::<HashMap<String, String>>(answer) {
                    Ok(settings) => {
                        let is = |name, value| settings.get(name).map(|is| is == value);
                        match (is("appendonly", "yes"), is("appendfsync", "always")) {
                            (Some(true), Some(true)) => DURABLE,
                            (Some(_), Some(_)) => VOLATILE,
                            _ => UNKNOWN,
                        }
                    }
                    Err(_) => UNKNOWN,
                },
                Err(_) => UNKNOWN,
            };
            worst = worst.min(durable);
            if durable == VOLATILE {
                return Ok(VOLATILE);
            }
        }
        Ok(worst)
    }

    async fn run<T: redis::FromRedisValue>(
        &self,
        script: &Script,
        list: ListName,
        arguments: impl Fn(&mut Cmd),
    ) -> Result<T, EdgeFailure> {
        let keys = self.keys.get(&list).ok_or(EdgeFailure::Unavailable)?;
        let fresh = random::name()?;
        let pending = self
            .bounds
            .pending
            .map_or(-1, |most| i64::try_from(most).unwrap_or(i64::MAX));
        let call = |command: &mut Cmd| {
            command.arg(keys.len()).arg(keys).arg(&fresh).arg(pending);
            command.arg(self.bounds.gone).arg(self.bounds.audit);
            command.arg(self.bounds.entries);
            arguments(command);
        };
        self.link.run(script, call).await
    }

    fn change(text: &str, list: ListName) -> Result<Change, EdgeFailure> {
        line::change(text, list).ok_or_else(|| {
            tracing::error!(%list, "a change in redis makes no sense");
            EdgeFailure::Unavailable
        })
    }

    fn entry(text: &str, list: ListName) -> Result<Entry, EdgeFailure> {
        line::entry(text, list).ok_or_else(|| {
            tracing::error!(%list, "an entry in redis makes no sense");
            EdgeFailure::Unavailable
        })
    }

    /// What a script that changes something said: a word, and what belongs to it.
    fn said(answer: &[String]) -> Result<(&str, &str), EdgeFailure> {
        match answer {
            [word] => Ok((word, "")),
            [word, rest] => Ok((word, rest)),
            _ => Err(EdgeFailure::Unavailable),
        }
    }
}

fn changes(texts: &[String], list: ListName) -> Result<Vec<Change>, EdgeFailure> {
    texts.iter().map(|text| Inner::change(text, list)).collect()
}

fn failure(word: &str) -> EdgeFailure {
    match word {
        "outbox_full" => EdgeFailure::OutboxFull,
        "list_full" => EdgeFailure::ListFull,
        _ => EdgeFailure::Unavailable,
    }
}

impl EdgeStore for RedisLists {
    fn add<'a>(&'a self, list: ListName, new: &'a NewEntry, by: &'a str) -> Reply<'a, Added> {
        Box::pin(async move {
            let ids = [random::name()?, random::name()?, random::name()?];
            let member = line::member(&new.member);
            let info = line::info(new, by).ok_or(EdgeFailure::Unavailable)?;
            let by = line::by(by, None).ok_or(EdgeFailure::Unavailable)?;
            let renews = u8::from(list == ListName::Revoked);
            let script = &self.inner.scripts.add;
            let arguments = |command: &mut Cmd| {
                command.arg(&ids).arg(&member).arg(new.ttl_ms);
                command.arg(&info).arg(&by).arg(renews);
            };
            let answer: Vec<String> = self.inner.run(script, list, arguments).await?;
            match Inner::said(&answer)? {
                ("done", text) => Inner::change(text, list).map(Added::Done),
                ("duplicate", id) => id
                    .parse()
                    .map(Added::Duplicate)
                    .map_err(|_| EdgeFailure::Unavailable),
                (word, _) => Err(failure(word)),
            }
        })
    }

    fn remove<'a>(
        &'a self,
        list: ListName,
        id: &'a EntryId,
        by: &'a str,
        note: Option<&'a Note>,
    ) -> Reply<'a, Option<Change>> {
        Box::pin(async move {
            let change = random::name()?;
            let by = line::by(by, note).ok_or(EdgeFailure::Unavailable)?;
            let script = &self.inner.scripts.remove;
            let arguments = |command: &mut Cmd| {
                command.arg(id.as_str()).arg(&change).arg(&by);
            };
            let answer: Vec<String> = self.inner.run(script, list, arguments).await?;
            match Inner::said(&answer)? {
                ("done", text) => Inner::change(text, list).map(Some),
                ("none", _) => Ok(None),
                (word, _) => Err(failure(word)),
            }
        })
    }

    fn get<'a>(&'a self, list: ListName, id: &'a EntryId) -> Reply<'a, Option<Entry>> {
        Box::pin(async move {
            let arguments = |command: &mut Cmd| {
                command.arg(id.as_str());
            };
            let script = &self.inner.scripts.get;
            let (now_ms, lines): (u64, Vec<String>) =
                self.inner.run(script, list, arguments).await?;
            let entry = lines.first().map(|text| Inner::entry(text, list));
            let entry = entry.transpose()?;
            Ok(entry.filter(|entry| entry.expires_ms > now_ms))
        })
    }

    fn entries(&self, list: ListName, after: u64, limit: usize) -> Reply<'_, Entries> {
        let limit = limit.clamp(1, MAX_PAGE);
        Box::pin(async move {
            let arguments = |command: &mut Cmd| {
                command.arg(after).arg(limit);
            };
            let script = &self.inner.scripts.entries;
            let (now_ms, lines): (u64, Vec<String>) =
                self.inner.run(script, list, arguments).await?;
            let entries = lines
                .iter()
                .map(|text| Inner::entry(text, list))
                .collect::<Result<Vec<_>, _>>()?;
            let next = entries.last().filter(|_| lines.len() >= limit);
            let next = next.map(|entry| entry.version);
            let live = entries.into_iter().filter(|e| e.expires_ms > now_ms);
            Ok(Entries {
                entries: live.collect(),
                next,
            })
        })
    }

    fn log<'a>(&'a self, list: ListName, seen: &'a Seen, limit: usize) -> Reply<'a, Log> {
        type Answer = (String, u64, u64, String, u64, Vec<String>, Vec<String>);
        let limit = limit.clamp(1, MAX_FATES);
        Box::pin(async move {
            let arguments = |command: &mut Cmd| {
                command.arg(&seen.epoch).arg(seen.after);
                command.arg(seen.newest).arg(&seen.mark).arg(limit);
            };
            let script = &self.inner.scripts.log;
            let (epoch, floor, last, mark, now_ms, entries, gone): Answer =
                self.inner.run(script, list, arguments).await?;
            let broken = || EdgeFailure::Unavailable;
            let mut to = last;
            let mut fates = Vec::with_capacity(entries.len());
            for text in &entries {
                fates.push(line::fate(text).ok_or_else(broken)?);
            }
            if let (true, Some((at, _, _))) = (entries.len() >= limit, fates.last()) {
                to = to.min(*at);
            }
            let (pairs, _) = gone.as_chunks::<2>();
            for (at, [member, version]) in pairs.iter().enumerate() {
                let member = line::read_member(member).ok_or_else(broken)?;
                let version = version.parse().map_err(|_| broken())?;
                fates.push((version, member, Fate::Gone));
                if at.saturating_add(1) >= limit {
                    to = to.min(version);
                }
            }
            fates.retain(|(version, _, _)| *version <= to);
            fates.sort_unstable_by_key(|(version, _, _)| *version);
            Ok(Log {
                epoch,
                floor,
                last,
                mark,
                now_ms,
                fates,
                to,
            })
        })
    }

    fn expire(&self, list: ListName) -> Reply<'_, Vec<Change>> {
        Box::pin(async move {
            let prefix = random::name()?;
            let arguments = |command: &mut Cmd| {
                command.arg(&prefix).arg(EXPIRED);
            };
            let script = &self.inner.scripts.expire;
            let texts: Vec<String> = self.inner.run(script, list, arguments).await?;
            changes(&texts, list)
        })
    }

    fn audit(&self, list: ListName, before: u64, limit: usize) -> Reply<'_, Changes> {
        let limit = limit.clamp(1, MAX_PAGE);
        Box::pin(async move {
            let [_, _, _, _, _, _, audit, _, _] = self
                .inner
                .keys
                .get(&list)
                .map(Vec::as_slice)
                .ok_or(EdgeFailure::Unavailable)?
            else {
                return Err(EdgeFailure::Unavailable);
            };
            let mut command = redis::cmd("ZREVRANGEBYSCORE");
            command.arg(audit).arg(format!("({before}")).arg("-inf");
            command.arg("LIMIT").arg(0).arg(limit);
            let texts: Vec<String> = self.inner.link.query(&command).await?;
            let changes = changes(&texts, list)?;
            let next = changes.last().filter(|_| changes.len() >= limit);
            let next = next.map(|change| change.version);
            Ok(Changes { changes, next })
        })
    }

    fn pending(&self, list: ListName, limit: usize) -> Reply<'_, Vec<Change>> {
        let limit = limit.clamp(1, MAX_PAGE);
        Box::pin(async move {
            let arguments = |command: &mut Cmd| {
                command.arg(limit);
            };
            let script = &self.inner.scripts.pending;
            let texts: Vec<String> = self.inner.run(script, list, arguments).await?;
            changes(&texts, list)
        })
    }

    fn delivered<'a>(&'a self, list: ListName, ids: &'a [String]) -> Reply<'a, ()> {
        Box::pin(async move {
            for ids in ids.chunks(MAX_PAGE) {
                let arguments = |command: &mut Cmd| {
                    command.arg(ids);
                };
                let script = &self.inner.scripts.delivered;
                let _: u64 = self.inner.run(script, list, arguments).await?;
            }
            Ok(())
        })
    }

    fn waiting(&self, list: ListName) -> Reply<'_, u64> {
        Box::pin(async move {
            let keys = self.inner.keys.get(&list);
            let outbox = keys
                .and_then(|keys| keys.get(7))
                .ok_or(EdgeFailure::Unavailable)?;
            let mut command = redis::cmd("ZCARD");
            command.arg(outbox);
            self.inner.link.query(&command).await
        })
    }

    fn durability(&self) -> Durability {
        match self.inner.durability.load(Ordering::Relaxed) {
            DURABLE => Durability::Durable,
            VOLATILE => Durability::Volatile,
            _ => Durability::Unknown,
        }
    }
}
