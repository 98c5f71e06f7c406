//! Which entries of a list somebody wants to see.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use wire::lists::{Kind, ListName, Member};

use crate::{
    control::query::{Query, plain},
    edge::{Edge, EdgeFailure, Entry, MAX_PAGE},
};

/// Entries on a page.
pub(super) const ROWS: usize = 50;
/// Longest text that is searched for, bytes.
pub(super) const MAX_TEXT_BYTES: usize = 256;
/// Entries that one search looks at, at most, and for how long; then the page offers to go on.
const MAX_LOOKED_AT: usize = 100_000;
const PATIENCE: Duration = Duration::from_secs(1);

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub list: ListName,
    pub kind: Option<Kind>,
    /// In value, reason, ticket or name; an address is also found in the networks that it is in.
    pub text: String,
    /// Entries after this version.
    pub after: u64,
}

impl Default for Wanted {
    fn default() -> Self {
        Self {
            list: ListName::Deny,
            kind: None,
            text: String::new(),
            after: 0,
        }
    }
}

/// Some entries, oldest first.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub entries: Vec<Entry>,
    pub looked_at: usize,
    /// More may follow after this version.
    pub next: Option<u64>,
}

impl Wanted {
    pub fn take(query: &mut Query) -> Self {
        let lists = [("deny", ListName::Deny), ("tarpit", ListName::Tarpit)];
        let list = |name: &str| lists.into_iter().find(|(known, _)| *known == name);
        let list = query.take("list", "must be deny or tarpit", list);
        let any = |text: &str| match text {
            "" => Some(None),
            name => kind(name).map(Some),
        };
        let fits = |text: &str| (text.len() <= MAX_TEXT_BYTES).then(|| text.trim().to_owned());
        let must = format!("must be at most {MAX_TEXT_BYTES} bytes");
        Self {
            list: list.map_or(ListName::Deny, |(_, list)| list),
            kind: query
                .take("kind", "must be ja3, ja4, ip or cidr", any)
                .flatten(),
            text: query.take("q", &must, fits).unwrap_or_default(),
            after: query
                .take("after", "must be that of a link", plain)
                .unwrap_or_default(),
        }
    }

    /// Whether entries are picked at all.
    pub fn picks(&self) -> bool {
        self.kind.is_some() || !self.text.is_empty()
    }

    /// The address of these entries, beginning after a version.
    pub fn link(&self, after: u64) -> String {
        let mut link = super::query();
        link.append_pair("list", self.list.as_str());
        if let Some(kind) = self.kind {
            link.append_pair("kind", kind.as_str());
        }
        if !self.text.is_empty() {
            link.append_pair("q", &self.text);
        }
        if after > 0 {
            link.append_pair("after", &after.to_string());
        }
        link.finish()
    }
}

pub(super) fn kind(text: &str) -> Option<Kind> {
    KINDS.into_iter().find(|kind| kind.as_str() == text)
}

/// Kinds of entries.
pub(super) const KINDS: [Kind; 4] = [Kind::Ip, Kind::Cidr, Kind::Ja3, Kind::Ja4];

/// What is searched for, made ready once.
struct Needle {
    lower: String,
    address: Option<IpAddr>,
}

impl Needle {
    fn new(text: &str) -> Self {
        let address = text.parse().ok();
        Self {
            lower: text.to_lowercase(),
            address: address.map(|address: IpAddr| address.to_canonical()),
        }
    }

    fn is_in(&self, entry: &Entry) -> bool {
        let has = |text: &str| text.to_lowercase().contains(&self.lower);
        let contains = match (self.address, &entry.member) {
            (Some(address), Member::Cidr(net)) => net.contains(&address),
            (Some(address), Member::Ip(ip)) => *ip == address,
            _ => false,
        };
        contains
            || has(&entry.member.to_string())
            || has(&entry.reason)
            || has(&entry.who)
            || entry.ticket_url.as_deref().is_some_and(has)
    }
}

/// Reads on from `wanted.after` until a page is full, the list ends, or it has looked long enough.
pub(super) async fn look(edge: &Edge, wanted: &Wanted) -> Result<Found, EdgeFailure> {
    let begun = Instant::now();
    let needle = (!wanted.text.is_empty()).then(|| Needle::new(&wanted.text));
    let fits = |entry: &Entry| {
        wanted.kind.is_none_or(|kind| entry.member.kind() == kind)
            && needle.as_ref().is_none_or(|needle| needle.is_in(entry))
    };
    let ask = if wanted.picks() { MAX_PAGE } else { ROWS };
    let mut found = Found::default();
    let mut after = wanted.after;
    loop {
        let page = edge.entries(wanted.list, after, ask).await?;
        let mut entries = page.entries.into_iter().peekable();
        while let Some(entry) = entries.next_if(|_| found.entries.len() < ROWS) {
            found.looked_at = found.looked_at.saturating_add(1);
            after = entry.version;
            if fits(&entry) {
                found.entries.push(entry);
            }
        }
        if entries.peek().is_some() {
            found.next = Some(after);
            return Ok(found);
        }
        let Some(next) = page.next else {
            return Ok(found);
        };
        after = next;
        let full = found.entries.len() >= ROWS;
        if full || found.looked_at >= MAX_LOOKED_AT || begun.elapsed() >= PATIENCE {
            found.next = Some(after);
            return Ok(found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::{Added, Bounds, EdgeStore, NewEntry, Rules, Settings, embedded::Embedded};

    fn entry(kind: Kind, value: &str) -> Entry {
        Entry {
            id: "e1".parse().unwrap(),
            list: ListName::Deny,
            member: Member::parse(kind, value).unwrap(),
            created_ms: 1,
            expires_ms: 2,
            reason: "Credential stuffing".into(),
            ticket_url: Some("https://tickets.example/SEC-1".into()),
            who: "spiffe://example/soc".into(),
            version: 1,
        }
    }

    #[test]
    fn text_is_found_anywhere_and_an_address_in_its_networks() {
        let net = entry(Kind::Cidr, "192.0.2.0/24");
        for text in [
            "192.0.2.77",
            "::ffff:192.0.2.77",
            "192.0.2.0",
            "STUFFING",
            "sec-1",
            "example/soc",
        ] {
            assert!(Needle::new(text).is_in(&net), "{text}");
        }
        for text in ["192.0.3.1", "2001:db8::1", "phishing"] {
            assert!(!Needle::new(text).is_in(&net), "{text}");
        }
        let six = entry(Kind::Ip, "2001:db8::1");
        assert!(Needle::new("2001:0db8:0:0::1").is_in(&six));
    }

    /// All entries of a list of 100,000 are reached, page by page, and the last one is found.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_hundred_thousand_entries_are_paged_and_searched() {
        const MANY: u32 = 100_000;
        let clock = crate::store::embedded::steady_clock();
        let settings = Settings {
            path: None,
            prefix: crate::key::Prefix::new("kong:edge:").unwrap(),
            timeout: Duration::from_secs(10),
            poll: Duration::from_secs(10),
            bounds: Bounds {
                entries: 200_000,
                gone: 1_000,
                audit: 1_000,
                pending: None,
            },
            rules: Rules::default(),
            nats: None,
            tells_durability: false,
        };
        let store = Embedded::in_memory(settings.bounds, settings.timeout, clock).unwrap();
        for n in 0..MANY {
            let new = NewEntry {
                member: Member::Ip(IpAddr::from((0x0a00_0000 + n).to_be_bytes())),
                ttl_ms: 3_600_000,
                reason: format!("reason {n}"),
                ticket_url: None,
            };
            let added = EdgeStore::add(&store, ListName::Deny, &new, "soc").await;
            assert!(matches!(added, Ok(Added::Done(_))));
        }
        let edge = Edge::start(std::sync::Arc::new(store), settings)
            .await
            .unwrap();

        let mut wanted = Wanted::default();
        let mut seen = 0;
        loop {
            let found = look(&edge, &wanted).await.unwrap();
            assert!(found.entries.len() <= ROWS);
            seen += found.entries.len();
            match found.next {
                Some(next) => wanted.after = next,
                None => break,
            }
        }
        assert_eq!(seen, 100_000);

        let mut wanted = Wanted {
            text: "REASON 99999".into(),
            ..Wanted::default()
        };
        // On a busy machine in several goes, each offered by the one before.
        let (entries, looked_at) = loop {
            let found = look(&edge, &wanted).await.unwrap();
            assert!(found.looked_at > 0 || found.next.is_none());
            match found.next {
                Some(next) if found.entries.is_empty() => wanted.after = next,
                _ => break (found.entries, found.looked_at),
            }
        };
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].reason, "reason 99999");
        assert!(looked_at <= 100_000);
    }

    #[test]
    fn a_link_says_what_is_wanted() {
        let uri = "/security?list=tarpit&kind=ip&q=%3Cb%3E+%26&after=7"
            .parse()
            .unwrap();
        let mut query = Query::of(&uri);
        let wanted = Wanted::take(&mut query);
        assert!(query.end().is_ok());
        assert_eq!(wanted.text, "<b> &");
        assert_eq!(wanted.link(7), uri.to_string());
        assert_eq!(Wanted::default().link(0), "/security?list=deny");
    }
}
