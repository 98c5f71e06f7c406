//! How entries and changes are written in Redis: `scripts/ledger.lua` has the form.

use serde::{Deserialize, Serialize};
use wire::lists::{Kind, ListName, Member};

use crate::edge::{
    body::NewEntry,
    entry::Entry,
    store::{Action, Change, Fate, Note},
};

/// What a script only hands on.
#[derive(Serialize, Deserialize)]
struct Info<'a> {
    reason: std::borrow::Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ticket: Option<std::borrow::Cow<'a, str>>,
    who: std::borrow::Cow<'a, str>,
}

/// `kind value`.
pub(super) fn member(member: &Member) -> String {
    format!("{} {member}", member.kind())
}

pub(super) fn read_member(text: &str) -> Option<Member> {
    let (kind, value) = text.split_once(' ')?;
    let kinds = [Kind::Ja3, Kind::Ja4, Kind::Ip, Kind::Cidr, Kind::ApiKey];
    let kind = kinds.into_iter().find(|known| known.as_str() == kind)?;
    Member::parse(kind, value).ok()
}

/// JSON without line ends.
pub(super) fn info(new: &NewEntry, who: &str) -> Option<String> {
    serde_json::to_string(&Info {
        reason: new.reason.as_str().into(),
        ticket: new.ticket_url.as_deref().map(Into::into),
        who: who.into(),
    })
    .ok()
}

/// Who changed something: the name alone, or with why.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum By<'a> {
    Name(std::borrow::Cow<'a, str>),
    Noted {
        by: std::borrow::Cow<'a, str>,
        note: std::borrow::Cow<'a, Note>,
    },
}

/// JSON without line ends.
pub(super) fn by(by: &str, note: Option<&Note>) -> Option<String> {
    let by = by.into();
    let by = match note {
        None => By::Name(by),
        Some(note) => By::Noted {
            by,
            note: std::borrow::Cow::Borrowed(note),
        },
    };
    serde_json::to_string(&by).ok()
}

fn read_by(text: &str) -> Option<(String, Option<Note>)> {
    Some(match serde_json::from_str(text).ok()? {
        By::Name(by) => (by.into_owned(), None),
        By::Noted { by, note } => (by.into_owned(), Some(note.into_owned())),
    })
}

/// `version created expires id kind value info`.
pub(super) fn entry(text: &str, list: ListName) -> Option<Entry> {
    let mut words = text.splitn(7, ' ');
    let mut word = || words.next();
    let version = word()?.parse().ok()?;
    let created_ms = word()?.parse().ok()?;
    let expires_ms = word()?.parse().ok()?;
    let id = word()?.parse().ok()?;
    let member = read_member(&format!("{} {}", word()?, word()?))?;
    let info: Info<'_> = serde_json::from_str(word()?).ok()?;
    Some(Entry {
        id,
        list,
        member,
        created_ms,
        expires_ms,
        reason: info.reason.into_owned(),
        ticket_url: info.ticket.map(Into::into),
        who: info.who.into_owned(),
        version,
    })
}

/// `id version at action`, LF, by, LF, entry.
pub(super) fn change(text: &str, list: ListName) -> Option<Change> {
    let mut lines = text.splitn(3, '\n');
    let mut words = lines.next()?.split(' ');
    let id = words.next()?.to_owned();
    let version = words.next()?.parse().ok()?;
    let at_ms = words.next()?.parse().ok()?;
    let name = words.next()?;
    let actions = [
        Action::Added,
        Action::Renewed,
        Action::Removed,
        Action::Expired,
    ];
    let action = actions.into_iter().find(|action| action.as_str() == name)?;
    let (by, note) = read_by(lines.next()?)?;
    Some(Change {
        id,
        version,
        at_ms,
        action,
        by,
        note,
        entry: entry(lines.next()?, list)?,
    })
}

/// `version expires kind value`.
pub(super) fn fate(text: &str) -> Option<(u64, Member, Fate)> {
    let mut words = text.splitn(3, ' ');
    let version = words.next()?.parse().ok()?;
    let expires = words.next()?.parse().ok()?;
    Some((version, read_member(words.next()?)?, Fate::Until(expires)))
}
