//! redis-proxy as those see it who follow its lists and send it samples: pages of changes since a version, and a
//! place for batches.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use policy::Time;
use policy::duration::Span;
use serde_json::json;
use wire::lists::{Change, Kind, LISTS_PATH, ListName, MEDIA_TYPE, Member, PAGE_CHANGES, Page};
use wire::samples::{MAX_SAMPLES, SAMPLES_PATH, Sample, SampleBatch};
use wire::sleep::{MAX_SLEEP, SLEEP_PATH};

use crate::auth_service::{Endpoint, serve_with};
use crate::fault::Fault;
use crate::world::{Asked, Response, Served, Service};

/// How long an entry stays unless it says so.
const DEFAULT_TTL: Duration = Duration::from_secs(3_600);

/// The service. Clones are the same service.
#[derive(Clone, Default)]
pub struct ListService(Arc<Mutex<State>>);

struct State {
    lists: BTreeMap<ListName, List>,
    /// How often the store was lost.
    lives: u64,
    page_changes: usize,
    faults: BTreeMap<Endpoint, Fault>,
    batches: Vec<SampleBatch>,
    asked: Vec<Asked>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            lists: BTreeMap::new(),
            lives: 1,
            page_changes: PAGE_CHANGES,
            faults: BTreeMap::new(),
            batches: Vec::new(),
            asked: Vec::new(),
        }
    }
}

/// The last change of each member, by its version; `None`: it was removed.
#[derive(Default)]
struct List {
    version: u64,
    changes: BTreeMap<u64, (Member, Option<Time>)>,
    of_member: BTreeMap<Member, u64>,
}

impl ListService {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an entry, or prolongs it.
    pub fn add(&self, list: ListName, member: Member, ttl: Duration, now: Time) {
        self.state().list(list).change(member, Some(now.plus(ttl)));
    }

    /// Removes an entry.
    pub fn remove(&self, list: ListName, member: Member) {
        self.state().list(list).change(member, None);
    }

    /// Adds an entry that is written like `ja4 t13d1516h2_8daaf6152771_e5627efa2ab1 5m`; an hour unless it says how
    /// long.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn add_text(&self, list: ListName, entry: &str, now: Time) -> Result<(), String> {
        let (member, ttl) = read(entry)?;
        self.add(list, member, ttl, now);
        Ok(())
    }

    /// Removes an entry that is written like `ip 192.0.2.1`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn remove_text(&self, list: ListName, entry: &str) -> Result<(), String> {
        let (member, _) = read(entry)?;
        self.remove(list, member);
        Ok(())
    }

    /// The store is lost: all lists are empty and begin anew.
    pub fn lose(&self) {
        let mut state = self.state();
        state.lists.clear();
        state.lives += 1;
    }

    /// So many changes make a page from now on.
    pub fn set_page_changes(&self, changes: usize) {
        self.state().page_changes = changes.clamp(1, PAGE_CHANGES);
    }

    /// Makes an endpoint fail, or work again with [`Fault::None`].
    ///
    /// # Panics
    /// When a single endpoint is told to refuse connections: an address refuses, not a path.
    pub fn fail(&self, endpoint: Endpoint, fault: Fault) {
        assert!(
            fault != Fault::Refused || endpoint == Endpoint::ListService,
            "only the whole service can refuse connections: say `list_service`"
        );
        self.state().faults.insert(endpoint, fault);
    }

    /// Everything works again.
    pub fn heal(&self) {
        self.state().faults.clear();
    }

    /// Every batch of samples so far.
    #[must_use]
    pub fn batches(&self) -> Vec<SampleBatch> {
        self.state().batches.clone()
    }

    /// Every sample so far.
    #[must_use]
    pub fn samples(&self) -> Vec<Sample> {
        let batches = self.batches();
        batches
            .into_iter()
            .flat_map(|batch| batch.samples)
            .collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A kind, a value, and a duration if there is one.
fn read(entry: &str) -> Result<(Member, Duration), String> {
    let mut words = entry.split(' ');
    let kind = match words.next() {
        Some("ja3") => Kind::Ja3,
        Some("ja4") => Kind::Ja4,
        Some("ip") => Kind::Ip,
        Some("cidr") => Kind::Cidr,
        Some("apikey") => Kind::ApiKey,
        _ => {
            return Err(format!(
                "{entry:?}: write ja3, ja4, ip, cidr or apikey, then a value"
            ));
        }
    };
    let member = Member::parse(kind, words.next().unwrap_or_default())
        .map_err(|problem| format!("{entry:?}: {problem}"))?;
    let ttl = match words.next() {
        Some(ttl) => {
            ttl.parse::<Span>()
                .map_err(|e| format!("{entry:?}: {e}"))?
                .0
        }
        None => DEFAULT_TTL,
    };
    match words.next() {
        Some(_) => Err(format!("{entry:?}: too many words")),
        None => Ok((member, ttl)),
    }
}

impl List {
    fn change(&mut self, member: Member, until: Option<Time>) {
        self.version += 1;
        if let Some(before) = self.of_member.insert(member, self.version) {
            self.changes.remove(&before);
        }
        self.changes.insert(self.version, (member, until));
    }

    /// The page after this version; `None` if there is nothing newer.
    fn page(
        &self,
        name: ListName,
        epoch: String,
        after: Option<u64>,
        most: usize,
        now: Time,
    ) -> Option<Page> {
        let from = after.filter(|after| *after <= self.version).unwrap_or(0);
        if after == Some(self.version) {
            return None;
        }
        let newer = self.changes.range(from + 1..).take(most);
        let mut to = self.version;
        if newer.clone().count() == most {
            to = newer.clone().last().map_or(to, |(version, _)| *version);
        }
        let changes = newer
            .filter_map(|(_, (member, until))| match until {
                Some(until) if *until <= now => None,
                Some(until) => Some(Change::Add {
                    member: *member,
                    ttl_ms: u64::try_from(until.since(now).as_millis()).unwrap(),
                }),
                None if from == 0 => None,
                None => Some(Change::Remove(*member)),
            })
            .collect();
        Some(Page {
            list: name,
            epoch,
            from,
            to,
            last: self.version,
            changes,
        })
    }
}

impl State {
    fn list(&mut self, name: ListName) -> &mut List {
        self.lists.entry(name).or_default()
    }

    fn fault(&self, endpoint: Option<Endpoint>) -> Fault {
        let of = |endpoint| self.faults.get(&endpoint).filter(|f| **f != Fault::None);
        of(Endpoint::ListService)
            .or_else(|| endpoint.and_then(of))
            .cloned()
            .unwrap_or_default()
    }

    fn answer(&mut self, asked: &Asked) -> Response {
        match endpoint(&asked.path) {
            Some(Endpoint::Lists) if asked.method == "GET" => self.page(asked),
            Some(Endpoint::Samples) if asked.method == "POST" => self.take(asked),
            None if slept(&asked.path).is_some() => Response::new(200, "text/plain", ""),
            Some(_) => problem(405, "method_not_allowed"),
            None => problem(404, "not_found"),
        }
    }

    fn page(&mut self, asked: &Asked) -> Response {
        let path = asked.path.strip_prefix(LISTS_PATH).unwrap_or_default();
        let (name, query) = path.split_once('?').unwrap_or((path, ""));
        let Ok(name) = name.parse::<ListName>() else {
            return problem(404, "unknown_list");
        };
        let epoch = format!("life-{}", self.lives);
        let parameters: BTreeMap<&str, &str> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .collect();
        let known: BTreeSet<&str> = ["epoch", "after"].into();
        if !parameters.keys().all(|name| known.contains(name)) {
            return problem(400, "unknown_parameter");
        }
        let after = parameters
            .get("after")
            .filter(|_| parameters.get("epoch") == Some(&epoch.as_str()))
            .and_then(|after| after.parse::<u64>().ok());
        let most = self.page_changes;
        let page = self.list(name).page(name, epoch, after, most, asked.at);
        match page {
            Some(page) => Response::new(200, MEDIA_TYPE, page.encode()),
            None => Response::new(304, MEDIA_TYPE, ""),
        }
    }

    fn take(&mut self, asked: &Asked) -> Response {
        match serde_json::from_slice::<SampleBatch>(&asked.body) {
            Ok(batch) if batch.samples.len() <= MAX_SAMPLES => {
                self.batches.push(batch);
                Response::new(202, "application/json", "{}")
            }
            _ => problem(400, "bad_batch"),
        }
    }
}

fn problem(status: u16, code: &str) -> Response {
    let body = json!({"type": "about:blank", "status": status, "code": code}).to_string();
    Response::new(status, "application/problem+json", body)
}

/// How long an answer to this path takes, if it is one that comes late.
fn slept(path: &str) -> Option<Duration> {
    let millis = path.strip_prefix(SLEEP_PATH)?.strip_prefix("?ms=")?;
    Some(Duration::from_millis(millis.parse().ok()?).min(MAX_SLEEP))
}

fn endpoint(path: &str) -> Option<Endpoint> {
    if path.starts_with(LISTS_PATH) {
        Some(Endpoint::Lists)
    } else if path == SAMPLES_PATH {
        Some(Endpoint::Samples)
    } else {
        None
    }
}

impl Service for ListService {
    fn serve(&self, asked: Asked) -> Served {
        let mut state = self.state();
        let place = endpoint(&asked.path);
        let fault = state.fault(place);
        // A batch that a fault swallows was not taken.
        let works = matches!(fault, Fault::None | Fault::Slow(_));
        let slept = slept(&asked.path).filter(|_| works).unwrap_or_default();
        let right = if works || place == Some(Endpoint::Lists) {
            state.answer(&asked)
        } else {
            problem(503, "unavailable")
        };
        state.asked.push(asked);
        drop(state);
        let mut served = serve_with(&fault, right);
        served.after += slept;
        served
    }

    fn refuses(&self) -> bool {
        self.state().fault(None) == Fault::Refused
    }

    /// `lists` (all of them), `lists:` and the name of one, `samples` (batches), `sampled` (requests in those that were
    /// taken), `sleep`.
    fn calls(&self, endpoint: &str) -> Option<u64> {
        let state = self.state();
        let wanted: Box<dyn Fn(&Asked) -> bool> = match endpoint {
            "lists" => Box::new(|asked| asked.path.starts_with(LISTS_PATH)),
            "sleep" => Box::new(|asked| slept(&asked.path).is_some()),
            "samples" => Box::new(|asked| asked.path == SAMPLES_PATH),
            "sampled" => {
                let count: usize = state.batches.iter().map(|b| b.samples.len()).sum();
                return u64::try_from(count).ok();
            }
            other => {
                let path = format!("{LISTS_PATH}{}", other.strip_prefix("lists:")?);
                Box::new(move |asked| asked.path.split('?').next() == Some(path.as_str()))
            }
        };
        let count = state.asked.iter().filter(|asked| wanted(asked)).count();
        u64::try_from(count).ok()
    }

    fn asked(&self) -> Vec<Asked> {
        self.state().asked.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_secs(1_800_000_000);

    fn get(service: &ListService, path: &str) -> Result<Page, u16> {
        let asked = Asked {
            at: NOW,
            method: "GET".into(),
            path: path.into(),
            headers: Vec::new(),
            body: Vec::new(),
        };
        let crate::world::End::Answer(response) = service.serve(asked).end else {
            panic!("no answer")
        };
        match response.status {
            200 => Ok(Page::decode(&response.body).unwrap()),
            status => Err(status),
        }
    }

    #[test]
    fn a_worker_that_follows_has_what_the_service_has() {
        let service = ListService::new();
        service.set_page_changes(2);
        for entry in [
            "ip 192.0.2.1",
            "ip 192.0.2.2 5s",
            "cidr 192.0.2.0/24",
            "ip 192.0.2.3",
        ] {
            service.add_text(ListName::Deny, entry, NOW).unwrap();
        }
        service.remove_text(ListName::Deny, "ip 192.0.2.1").unwrap();
        let first = get(&service, "/v1/lists/deny").unwrap();
        assert_eq!((first.from, first.to, first.last), (0, 3, 5));
        assert_eq!(first.changes.len(), 2);
        let second = get(&service, "/v1/lists/deny?epoch=life-1&after=3").unwrap();
        assert_eq!((second.from, second.to, second.last), (3, 5, 5));
        assert_eq!(second.changes.len(), 2);
        assert_eq!(
            get(&service, "/v1/lists/deny?epoch=life-1&after=5"),
            Err(304)
        );
        assert_eq!(
            get(&service, "/v1/lists/deny?epoch=life-0&after=5")
                .unwrap()
                .from,
            0
        );
        service.lose();
        assert_eq!(
            get(&service, "/v1/lists/deny?epoch=life-1&after=5")
                .unwrap()
                .last,
            0
        );
        assert_eq!(get(&service, "/v1/lists/guests"), Err(404));
    }

    #[test]
    fn entries_are_written_in_words() {
        assert!(read("ip 192.0.2.1").is_ok());
        for bad in [
            "192.0.2.1",
            "ip",
            "ip x",
            "ip 192.0.2.1 soon",
            "ip 192.0.2.1 5s x",
            "net 1",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
