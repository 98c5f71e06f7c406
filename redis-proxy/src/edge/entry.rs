//! An entry of a list: who is denied, slowed down or revoked, until when, and on whose word.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use wire::lists::{Kind, ListName, Member};

/// Longest id of an entry, bytes.
pub const MAX_ID_BYTES: usize = 64;

/// The name of an entry: 1 to [`MAX_ID_BYTES`] of `A-Z a-z 0-9 _ -`. It never changes and is never used again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, pattern = "^[A-Za-z0-9_-]{1,64}$")]
pub struct EntryId(String);

impl EntryId {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for EntryId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if (1..=MAX_ID_BYTES).contains(&text.len()) && text.bytes().all(legal) {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadId)
        }
    }
}

impl TryFrom<String> for EntryId {
    type Error = BadId;

    fn try_from(text: String) -> Result<Self, BadId> {
        text.parse()
    }
}

impl From<EntryId> for String {
    fn from(id: EntryId) -> Self {
        id.0
    }
}

/// No entry has such an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadId;

impl fmt::Display for BadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("must be 1 to 64 of A-Z a-z 0-9 _ -")
    }
}

impl std::error::Error for BadId {}

/// One entry. As JSON it is an [`EntryView`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "EntryView", into = "EntryView")]
pub struct Entry {
    /// Its name.
    pub id: EntryId,
    /// The list it is on.
    pub list: ListName,
    /// Whom it is about. A list has at most one live entry for a member.
    pub member: Member,
    /// When it was added, milliseconds since 1970 on the store's clock.
    pub created_ms: u64,
    /// When it ends, on the same clock. From then on no reader sees it.
    pub expires_ms: u64,
    /// Why, for people: 1 to 1,024 bytes.
    pub reason: String,
    /// Where to read on.
    pub ticket_url: Option<String>,
    /// Who added it.
    pub who: String,
    /// The version of the list that it came with; each change of a list has one.
    pub version: u64,
}

impl Entry {
    /// Milliseconds it has left at `now_ms`; 0: it is over.
    #[must_use]
    pub const fn left_ms(&self, now_ms: u64) -> u64 {
        self.expires_ms.saturating_sub(now_ms)
    }
}

/// An entry as JSON, in answers, audit records and events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = Entry)]
pub struct EntryView {
    /// Its name, for `DELETE`.
    pub id: EntryId,
    /// The list it is on.
    pub list: ListName,
    /// What `value` is.
    pub kind: Kind,
    /// The value in its canonical form.
    pub value: String,
    /// When it was added, milliseconds since 1970 on the store's clock.
    pub created_ms: u64,
    /// When it ends, on the same clock.
    pub expires_ms: u64,
    /// Why, for people.
    pub reason: String,
    /// Where to read on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket_url: Option<String>,
    /// Who added it.
    pub who: String,
    /// The version of the list that it came with.
    pub version: u64,
}

impl From<Entry> for EntryView {
    fn from(entry: Entry) -> Self {
        Self {
            id: entry.id,
            list: entry.list,
            kind: entry.member.kind(),
            value: entry.member.to_string(),
            created_ms: entry.created_ms,
            expires_ms: entry.expires_ms,
            reason: entry.reason,
            ticket_url: entry.ticket_url,
            who: entry.who,
            version: entry.version,
        }
    }
}

impl TryFrom<EntryView> for Entry {
    type Error = wire::lists::BadMember;

    fn try_from(view: EntryView) -> Result<Self, Self::Error> {
        Ok(Self {
            member: Member::parse(view.kind, &view.value)?,
            id: view.id,
            list: view.list,
            created_ms: view.created_ms,
            expires_ms: view.expires_ms,
            reason: view.reason,
            ticket_url: view.ticket_url,
            who: view.who,
            version: view.version,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        let entry = Entry {
            id: "d-1".parse().unwrap(),
            list: ListName::Deny,
            member: Member::parse(Kind::Cidr, "192.0.2.0/24").unwrap(),
            created_ms: 1,
            expires_ms: 2,
            reason: "scans \"everything\"\n".into(),
            ticket_url: None,
            who: "spiffe://example/soc".into(),
            version: u64::MAX,
        };
        let json = serde_json::to_string(&entry).unwrap();
        assert!(
            json.contains(r#""kind":"cidr","value":"192.0.2.0/24","createdMs":1"#),
            "{json}"
        );
        assert_eq!(serde_json::from_str::<Entry>(&json).unwrap(), entry);
        let bad = json.replace("/24", "/240");
        assert!(serde_json::from_str::<Entry>(&bad).is_err());
    }

    #[test]
    fn ids_are_plain() {
        for bad in ["", "a b", "a/b", "ü", &"x".repeat(65)] {
            assert_eq!(bad.parse::<EntryId>(), Err(BadId), "{bad:?}");
        }
        assert!("x".repeat(64).parse::<EntryId>().is_ok());
    }
}
