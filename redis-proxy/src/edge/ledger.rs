//! One list in memory: what the embedded store keeps. Pure; time and names are arguments.
//!
//! Each operation that changes something leaves behind what has to be written to disk ([`Ledger::written`]).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use wire::lists::{ListName, Member};

use super::{
    body::NewEntry,
    entry::{Entry, EntryId},
    store::{
        Action, Added, Bounds, Change, Changes, EdgeFailure, Entries, Fate, Log, MAX_PAGE, Note,
        Seen,
    },
};

/// A record to be written or dropped, named by its version.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// A live entry.
    Entry(u64, Option<Entry>),
    /// A member that went.
    Gone(u64, Option<Member>),
    /// An audit record.
    Audit(u64, Option<Change>),
    /// An event.
    Event(u64, Option<Change>),
    /// The head of the list.
    Head(Head),
}

/// What a list is, but for its records.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Head {
    /// Which life of the store this is.
    pub epoch: String,
    /// The newest version.
    pub last: u64,
    /// Its change.
    pub mark: String,
    /// Members that went at or before this version are forgotten.
    pub floor: u64,
}

/// One list.
#[derive(Debug)]
pub struct Ledger {
    list: ListName,
    bounds: Bounds,
    head: Head,
    entries: BTreeMap<u64, Entry>,
    by_id: HashMap<EntryId, u64>,
    by_member: HashMap<Member, u64>,
    by_end: BTreeSet<(u64, u64)>,
    gone: BTreeMap<u64, Member>,
    gone_at: HashMap<Member, u64>,
    audit: BTreeMap<u64, Change>,
    events: BTreeMap<u64, Change>,
    written: Vec<Write>,
}

impl Ledger {
    /// An empty list with a new epoch.
    #[must_use]
    pub fn new(list: ListName, bounds: Bounds, epoch: String) -> Self {
        let head = Head {
            epoch,
            ..Head::default()
        };
        Self {
            list,
            bounds,
            written: vec![Write::Head(head.clone())],
            head,
            entries: BTreeMap::new(),
            by_id: HashMap::new(),
            by_member: HashMap::new(),
            by_end: BTreeSet::new(),
            gone: BTreeMap::new(),
            gone_at: HashMap::new(),
            audit: BTreeMap::new(),
            events: BTreeMap::new(),
        }
    }

    /// Takes a record back that was written in an earlier life.
    pub fn restore(&mut self, write: Write) {
        match write {
            Write::Entry(_, Some(entry)) => self.insert(entry),
            Write::Gone(version, Some(member)) => {
                self.gone.insert(version, member);
                self.gone_at.insert(member, version);
            }
            Write::Audit(version, Some(change)) => drop(self.audit.insert(version, change)),
            Write::Event(version, Some(change)) => drop(self.events.insert(version, change)),
            Write::Head(head) => {
                self.head = head;
                self.written.clear();
            }
            _ => {}
        }
    }

    /// What has to be written since the last call.
    pub fn written(&mut self) -> Vec<Write> {
        std::mem::take(&mut self.written)
    }

    /// Adds or renews. `ids` name the entry, its change, and the end of one whose time was over.
    ///
    /// # Errors
    /// The list or the outbox is full.
    pub fn add(
        &mut self,
        new: &NewEntry,
        by: &str,
        now_ms: u64,
        ids: [String; 3],
    ) -> Result<Added, EdgeFailure> {
        let [id, change, end] = ids;
        let there = self.by_member.get(&new.member).copied();
        let there = there.and_then(|version| self.entries.get(&version).cloned());
        let live = there
            .as_ref()
            .is_some_and(|entry| entry.expires_ms > now_ms);
        let over = there.is_some() && !live;
        if let Some(entry) = there.as_ref().filter(|_| live)
            && self.list != ListName::Revoked
        {
            return Ok(Added::Duplicate(entry.id.clone()));
        }
        self.room_for_events(if over { 2 } else { 1 })?;
        if there.is_none() && self.entries.len() >= self.bounds.entries {
            return Err(EdgeFailure::ListFull);
        }
        if let Some(entry) = there.as_ref().filter(|_| over) {
            self.take(entry.version, Action::Expired, ("", None), now_ms, end);
        }
        let renewed = there.filter(|_| live);
        if let Some(entry) = &renewed {
            self.withdraw(entry.version);
        }
        let id = match &renewed {
            Some(entry) => entry.id.clone(),
            None => id.parse().map_err(|_| EdgeFailure::Unavailable)?,
        };
        let version = self.next_version(&change);
        let entry = Entry {
            id,
            list: self.list,
            member: new.member,
            created_ms: renewed.as_ref().map_or(now_ms, |entry| entry.created_ms),
            expires_ms: now_ms.saturating_add(new.ttl_ms),
            reason: new.reason.clone(),
            ticket_url: new.ticket_url.clone(),
            who: by.to_owned(),
            version,
        };
        if let Some(at) = self.gone_at.remove(&new.member) {
            self.gone.remove(&at);
            self.written.push(Write::Gone(at, None));
        }
        self.written
            .push(Write::Entry(version, Some(entry.clone())));
        self.insert(entry.clone());
        let action = match renewed {
            Some(_) => Action::Renewed,
            None => Action::Added,
        };
        Ok(Added::Done(self.tell(Change {
            id: change,
            version,
            at_ms: now_ms,
            action,
            by: by.to_owned(),
            note: None,
            entry,
        })))
    }

    /// Removes a live entry.
    ///
    /// # Errors
    /// The outbox is full.
    pub fn remove(
        &mut self,
        id: &EntryId,
        by: &str,
        note: Option<Note>,
        now_ms: u64,
        change: String,
    ) -> Result<Option<Change>, EdgeFailure> {
        let Some(entry) = self.get(id, now_ms) else {
            return Ok(None);
        };
        let version = entry.version;
        self.room_for_events(1)?;
        Ok(self.take(version, Action::Removed, (by, note), now_ms, change))
    }

    /// Takes one entry whose time is over off the list; `None`: there is none, or the outbox is full.
    pub fn expire(&mut self, now_ms: u64, change: impl FnOnce() -> String) -> Option<Change> {
        let (_, version) = self.by_end.first().filter(|(end, _)| *end <= now_ms)?;
        let version = *version;
        self.room_for_events(1).ok()?;
        self.take(version, Action::Expired, ("", None), now_ms, change())
    }

    /// A live entry.
    #[must_use]
    pub fn get(&self, id: &EntryId, now_ms: u64) -> Option<&Entry> {
        let entry = self.entries.get(self.by_id.get(id)?)?;
        (entry.expires_ms > now_ms).then_some(entry)
    }

    /// Live entries after a version.
    #[must_use]
    pub fn entries(&self, after: u64, limit: usize, now_ms: u64) -> Entries {
        let limit = limit.clamp(1, MAX_PAGE);
        let mut live = self
            .entries
            .range(after.saturating_add(1)..)
            .map(|(_, entry)| entry)
            .filter(|entry| entry.expires_ms > now_ms);
        let entries: Vec<Entry> = live.by_ref().take(limit).cloned().collect();
        let more = live.next().is_some();
        let next = entries.last().filter(|_| more).map(|entry| entry.version);
        Entries { entries, next }
    }

    /// What changed since. A follower of another history has the list take the `fresh` epoch.
    pub fn log(&mut self, seen: &Seen, limit: usize, now_ms: u64, fresh: String) -> Log {
        let same = seen.epoch == self.head.epoch;
        let known = match self.audit.get(&seen.newest) {
            Some(change) => Some(change.id.as_str()),
            None if seen.newest == self.head.last => Some(self.head.mark.as_str()),
            None => None,
        };
        if same && (seen.newest > self.head.last || known.is_some_and(|mark| mark != seen.mark)) {
            self.head.epoch = fresh;
            self.written.push(Write::Head(self.head.clone()));
        }
        let from = if seen.epoch == self.head.epoch {
            seen.after
        } else {
            0
        };
        let after = from.saturating_add(1)..;
        let mut entries = self.entries.range(after.clone()).peekable();
        let mut gone = self.gone.range(after).peekable();
        let mut fates = Vec::new();
        let mut to = self.head.last;
        loop {
            if fates.len() >= limit.max(1) {
                if let Some((at, _, _)) = fates.last() {
                    to = *at;
                }
                break;
            }
            let entry_first = match (entries.peek(), gone.peek()) {
                (None, None) => break,
                (Some((entry, _)), Some((gone, _))) => entry < gone,
                (Some(_), None) => true,
                (None, Some(_)) => false,
            };
            let fate = if entry_first {
                entries
                    .next()
                    .map(|(at, entry)| (*at, entry.member, Fate::Until(entry.expires_ms)))
            } else {
                gone.next().map(|(at, member)| (*at, *member, Fate::Gone))
            };
            fates.extend(fate);
        }
        Log {
            epoch: self.head.epoch.clone(),
            floor: self.head.floor,
            last: self.head.last,
            mark: self.head.mark.clone(),
            now_ms,
            fates,
            to,
        }
    }

    /// The audit log before a version, newest first.
    #[must_use]
    pub fn audit(&self, before: u64, limit: usize) -> Changes {
        let limit = limit.clamp(1, MAX_PAGE);
        let mut older = self.audit.range(..before).rev().map(|(_, change)| change);
        let changes: Vec<Change> = older.by_ref().take(limit).cloned().collect();
        let more = older.next().is_some();
        let next = changes.last().filter(|_| more).map(|change| change.version);
        Changes { changes, next }
    }

    /// The oldest events that wait.
    #[must_use]
    pub fn pending(&self, limit: usize) -> Vec<Change> {
        let limit = limit.clamp(1, MAX_PAGE);
        self.events.values().take(limit).cloned().collect()
    }

    /// Forgets events.
    pub fn delivered(&mut self, ids: &[String]) {
        // They are the oldest, nearly always.
        let ids: std::collections::HashSet<_> = ids.iter().collect();
        let versions: Vec<u64> = self
            .events
            .iter()
            .filter(|(_, change)| ids.contains(&change.id))
            .take(ids.len())
            .map(|(version, _)| *version)
            .collect();
        for version in versions {
            self.events.remove(&version);
            self.written.push(Write::Event(version, None));
        }
    }

    /// How many events wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.events.len()
    }

    fn room_for_events(&self, wanted: usize) -> Result<(), EdgeFailure> {
        match self.bounds.pending {
            Some(most) if self.events.len().saturating_add(wanted) > most => {
                Err(EdgeFailure::OutboxFull)
            }
            _ => Ok(()),
        }
    }

    fn next_version(&mut self, mark: &str) -> u64 {
        self.head.last = self.head.last.saturating_add(1);
        self.head.mark = mark.to_owned();
        self.head.last
    }

    fn insert(&mut self, entry: Entry) {
        let version = entry.version;
        self.by_id.insert(entry.id.clone(), version);
        self.by_member.insert(entry.member, version);
        self.by_end.insert((entry.expires_ms, version));
        self.entries.insert(version, entry);
    }

    fn withdraw(&mut self, version: u64) -> Option<Entry> {
        let entry = self.entries.remove(&version)?;
        self.by_id.remove(&entry.id);
        self.by_member.remove(&entry.member);
        self.by_end.remove(&(entry.expires_ms, version));
        self.written.push(Write::Entry(version, None));
        Some(entry)
    }

    /// Takes an entry off the list.
    fn take(
        &mut self,
        version: u64,
        action: Action,
        (by, note): (&str, Option<Note>),
        now_ms: u64,
        change: String,
    ) -> Option<Change> {
        let entry = self.withdraw(version)?;
        let version = self.next_version(&change);
        self.gone.insert(version, entry.member);
        self.gone_at.insert(entry.member, version);
        self.written.push(Write::Gone(version, Some(entry.member)));
        while self.gone.len() > self.bounds.gone {
            let Some((at, member)) = self.gone.pop_first() else {
                break;
            };
            self.gone_at.remove(&member);
            self.head.floor = at;
            self.written.push(Write::Gone(at, None));
        }
        Some(self.tell(Change {
            id: change,
            version,
            at_ms: now_ms,
            action,
            by: by.to_owned(),
            note,
            entry,
        }))
    }

    /// Audit log and outbox.
    fn tell(&mut self, change: Change) -> Change {
        let version = change.version;
        self.audit.insert(version, change.clone());
        self.written
            .push(Write::Audit(version, Some(change.clone())));
        while self.audit.len() > self.bounds.audit {
            if let Some((oldest, _)) = self.audit.pop_first() {
                self.written.push(Write::Audit(oldest, None));
            }
        }
        if self.bounds.pending.is_some() {
            self.events.insert(version, change.clone());
            self.written
                .push(Write::Event(version, Some(change.clone())));
        }
        self.written.push(Write::Head(self.head.clone()));
        change
    }
}
