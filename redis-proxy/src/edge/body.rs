//! What a caller asks for, checked: `{kind, value, ttlSeconds, reason, ticketUrl}` (C1).

use std::fmt;

use axum::http::Uri;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use wire::lists::{Kind, ListName, MAX_TTL_MS, Member};

use super::store::Note;

/// Longest `reason`, bytes.
pub const MAX_REASON_BYTES: usize = 1_024;
/// Longest `ticketUrl`, bytes.
pub const MAX_URL_BYTES: usize = 2_048;
/// Longest `ttlSeconds`: 30 days.
pub const MAX_TTL_S: u64 = 30 * 24 * 3_600;
/// `ttlSeconds` of a tarpit entry that says none: one hour (T2).
pub const TARPIT_TTL_S: u64 = 3_600;
/// How long a revoked API key is told to the workers: twice what they may cache it (A8).
pub const REVOKED_TTL_S: u64 = 120;
/// What the path of a revocation starts with; the SHA-256 of the key follows.
pub const REVOKED_PREFIX: &str = "ghasi:apikey:";

const FIELDS: [&str; 5] = ["kind", "value", "ttlSeconds", "reason", "ticketUrl"];

/// Which networks may be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Shortest prefix of an IPv4 network, 0 to 32. Default 8.
    pub min_prefix_v4: u8,
    /// Shortest prefix of an IPv6 network, 0 to 128. Default 16.
    pub min_prefix_v6: u8,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            min_prefix_v4: 8,
            min_prefix_v6: 16,
        }
    }
}

/// The body of a `POST`, for the OpenAPI document: [`NewEntry::read`] reads it.
#[derive(Debug, ToSchema, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EntryBody {
    /// `ja3`, `ja4`, `ip` or `cidr`.
    #[schema(example = "cidr")]
    pub kind: String,
    /// What the kind says. Of a network at least /8 (IPv4) or /16 (IPv6), unless configured otherwise.
    #[schema(example = "192.0.2.0/24", max_length = 64)]
    pub value: String,
    /// Life in seconds. Required for `deny`; 3,600 for `tarpit` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 2_592_000, example = 3_600)]
    pub ttl_seconds: Option<u64>,
    /// Why, for people; the client never sees it.
    #[schema(min_length = 1, max_length = 1_024, example = "scans")]
    pub reason: String,
    /// Where to read on: `http` or `https`, without credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(
        max_length = 2_048,
        format = "uri",
        example = "https://tickets.example/SEC-1"
    )]
    pub ticket_url: Option<String>,
}

/// A checked wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEntry {
    /// Whom it is about.
    pub member: Member,
    /// How long, milliseconds: 1,000 to [`MAX_TTL_MS`].
    pub ttl_ms: u64,
    /// Why, for people: 1 to [`MAX_REASON_BYTES`] bytes without control characters.
    pub reason: String,
    /// Where to read on.
    pub ticket_url: Option<String>,
}

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// The field as it is written in the body; empty: the body as a whole.
    pub field: String,
    /// What it must be. Never holds the value.
    pub problem: String,
}

impl FieldError {
    fn new(field: &str, problem: impl Into<String>) -> Self {
        Self {
            field: field.to_owned(),
            problem: problem.into(),
        }
    }
}

/// `field: problem`.
impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => f.write_str(&self.problem),
            field => write!(f, "{field}: {}", self.problem),
        }
    }
}

/// Everything that is wrong with a body, in the order of its fields, at most one problem each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadEntry(pub Vec<FieldError>);

/// All problems in one line.
impl fmt::Display for BadEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.0.iter().enumerate() {
            let before = if at == 0 { "" } else { "; " };
            write!(f, "{before}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for BadEntry {}

impl NewEntry {
    /// Reads the body of a `POST` to `deny` or `tarpit`.
    ///
    /// # Errors
    /// Every field that is wrong. `revoked` has no bodies: [`NewEntry::revocation`].
    pub fn read(list: ListName, body: &[u8], rules: &Rules) -> Result<Self, BadEntry> {
        let not_object = || BadEntry(vec![FieldError::new("", "must be a JSON object")]);
        let Ok(Value::Object(mut body)) = serde_json::from_slice(body) else {
            return Err(not_object());
        };
        // `null` is the same as nothing.
        body.retain(|_, value| !value.is_null());
        let mut errors = Vec::new();
        let mut keep = |field: &str, error: String| errors.push(FieldError::new(field, error));

        let kind = kind(list, body.get("kind"))
            .map_err(|e| keep("kind", e))
            .ok();
        let member = match (text(body.get("value")), kind) {
            (Ok(_), None) => Err(()),
            (value, kind) => value
                .and_then(|value| member(kind.unwrap_or(Kind::Ip), value, rules))
                .map_err(|e| keep("value", e)),
        };
        let ttl_s = ttl(list, body.get("ttlSeconds")).map_err(|e| keep("ttlSeconds", e));
        let reason = text(body.get("reason"))
            .and_then(reason)
            .map_err(|e| keep("reason", e));
        let ticket_url = match body.get("ticketUrl") {
            None => Ok(None),
            some => text(some)
                .and_then(url)
                .map(Some)
                .map_err(|e| keep("ticketUrl", e)),
        };
        for field in body.keys().filter(|name| !FIELDS.contains(&name.as_str())) {
            let known = FIELDS.join(", ");
            let name: String = field.chars().take(64).collect();
            keep(&name, format!("unknown; known are {known}"));
        }
        match (member, ttl_s, reason, ticket_url) {
            (Ok(member), Ok(ttl_s), Ok(reason), Ok(ticket_url)) if errors.is_empty() => Ok(Self {
                member,
                ttl_ms: ttl_s.saturating_mul(1_000),
                reason,
                ticket_url,
            }),
            _ => Err(BadEntry(errors)),
        }
    }

    /// What `DELETE /cache/{key}` asks for (A8): `key` is [`REVOKED_PREFIX`] and the SHA-256 of the API key.
    ///
    /// # Errors
    /// The key is not of that form.
    pub fn revocation(key: &str) -> Result<Self, BadEntry> {
        let bad = |problem: String| BadEntry(vec![FieldError::new("key", problem)]);
        let hash = key
            .strip_prefix(REVOKED_PREFIX)
            .ok_or_else(|| bad(format!("must start with {REVOKED_PREFIX}")))?;
        let member = Member::parse(Kind::ApiKey, hash).map_err(|error| bad(error.to_string()))?;
        Ok(Self {
            member,
            ttl_ms: REVOKED_TTL_S.saturating_mul(1_000),
            reason: "revoked".to_owned(),
            ticket_url: None,
        })
    }
}

impl Note {
    /// Reads why an entry is removed; `None`: nobody said so.
    ///
    /// # Errors
    /// Every part that is wrong; a ticket without a reason.
    pub fn read(why: Option<&str>, ticket: Option<&str>) -> Result<Option<Self>, BadEntry> {
        let mut errors = Vec::new();
        let mut keep = |field: &str, problem: String| errors.push(FieldError::new(field, problem));
        let why = match (why, ticket) {
            (None, None) => return Ok(None),
            (None, Some(_)) => Err("is required".to_owned()),
            (Some(why), _) => reason(why),
        };
        let why = why.map_err(|problem| keep("reason", problem));
        let ticket = ticket.map(url).transpose();
        let ticket = ticket.map_err(|problem| keep("ticketUrl", problem));
        match (why, ticket) {
            (Ok(reason), Ok(ticket_url)) => Ok(Some(Self { reason, ticket_url })),
            _ => Err(BadEntry(errors)),
        }
    }
}

fn text(value: Option<&Value>) -> Result<&str, String> {
    match value {
        None => Err("is required".to_owned()),
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err("must be a string".to_owned()),
    }
}

fn kind(list: ListName, value: Option<&Value>) -> Result<Kind, String> {
    const OF_CLIENTS: [Kind; 4] = [Kind::Ja3, Kind::Ja4, Kind::Ip, Kind::Cidr];
    let kinds: &[Kind] = match list {
        ListName::Deny | ListName::Tarpit => &OF_CLIENTS,
        ListName::Revoked => &[Kind::ApiKey],
    };
    let name = text(value)?;
    kinds
        .iter()
        .copied()
        .find(|kind| kind.as_str() == name)
        .ok_or_else(|| {
            let names: Vec<_> = kinds.iter().map(|kind| kind.as_str()).collect();
            format!("must be one of {}", names.join(", "))
        })
}

fn member(kind: Kind, value: &str, rules: &Rules) -> Result<Member, String> {
    let member = Member::parse(kind, value).map_err(|error| error.to_string())?;
    if let Member::Cidr(net) = &member {
        let (least, family) = match net {
            ipnet::IpNet::V4(_) => (rules.min_prefix_v4, "IPv4"),
            ipnet::IpNet::V6(_) => (rules.min_prefix_v6, "IPv6"),
        };
        if net.prefix_len() < least {
            return Err(format!("is too wide: /{least} or longer for {family}"));
        }
    }
    Ok(member)
}

fn ttl(list: ListName, value: Option<&Value>) -> Result<u64, String> {
    match (value, list) {
        (None, ListName::Deny) => Err("is required".to_owned()),
        (None, ListName::Tarpit) => Ok(TARPIT_TTL_S),
        (None, ListName::Revoked) => Ok(REVOKED_TTL_S),
        (Some(value), _) => value
            .as_u64()
            .filter(|ttl| (1..=MAX_TTL_S).contains(ttl))
            .ok_or_else(|| format!("must be an integer from 1 to {MAX_TTL_S}")),
    }
}

fn reason(text: &str) -> Result<String, String> {
    if text.trim().is_empty() || text.len() > MAX_REASON_BYTES {
        return Err(format!(
            "must be 1 to {MAX_REASON_BYTES} bytes and not blank"
        ));
    }
    if text.chars().any(char::is_control) {
        return Err("must not hold control characters".to_owned());
    }
    Ok(text.to_owned())
}

fn url(text: &str) -> Result<String, String> {
    let fits = (1..=MAX_URL_BYTES).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic())
        && text.parse::<Uri>().is_ok_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.host().is_some_and(|host| !host.is_empty())
                && uri
                    .authority()
                    .is_some_and(|who| !who.as_str().contains('@'))
        });
    if fits {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "must be an http or https URL of at most {MAX_URL_BYTES} bytes, without credentials"
        ))
    }
}

const _: () = assert!(MAX_TTL_S * 1_000 == MAX_TTL_MS);

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn good() -> Value {
        json!({"kind": "cidr", "value": "192.0.2.77/24", "ttlSeconds": 60, "reason": "scans",
               "ticketUrl": "https://tickets.example/SEC-1?x=1#top"})
    }

    fn read(list: ListName, body: &Value) -> Result<NewEntry, BadEntry> {
        NewEntry::read(list, body.to_string().as_bytes(), &Rules::default())
    }

    #[test]
    fn a_good_body_is_read_in_canonical_form() {
        let entry = read(ListName::Deny, &good()).unwrap();
        assert_eq!(entry.member.to_string(), "192.0.2.0/24");
        assert_eq!(entry.ttl_ms, 60_000);
        let documented: EntryBody = serde_json::from_value(good()).unwrap();
        assert_eq!(serde_json::to_value(documented).unwrap(), good());
    }

    #[test]
    fn a_tarpit_entry_lives_an_hour_a_deny_entry_says_how_long() {
        let mut body = good();
        body["ttlSeconds"] = Value::Null;
        assert_eq!(read(ListName::Tarpit, &body).unwrap().ttl_ms, 3_600_000);
        let error = read(ListName::Deny, &body).unwrap_err();
        assert_eq!(error.to_string(), "ttlSeconds: is required");
    }

    #[test]
    fn each_bad_field_is_named_and_its_value_not_shown() {
        let long = "x".repeat(1_025);
        let huge = "x".repeat(1 << 20);
        for (field, value, problem) in [
            ("kind", json!("host"), "must be one of ja3, ja4, ip, cidr"),
            ("kind", json!("apikey"), "must be one of"),
            ("kind", json!(7), "must be a string"),
            ("kind", Value::Null, "is required"),
            ("value", json!("192.0.2.0/33"), "must be a network"),
            (
                "value",
                json!("10.0.0.0/7"),
                "is too wide: /8 or longer for IPv4",
            ),
            ("value", json!("0.0.0.0/0"), "is too wide"),
            ("value", json!("::ffff:0.0.0.0/96"), "for IPv4"),
            (
                "value",
                json!("2000::/15"),
                "is too wide: /16 or longer for IPv6",
            ),
            ("value", json!(["192.0.2.0/24"]), "must be a string"),
            (
                "ttlSeconds",
                json!(0),
                "must be an integer from 1 to 2592000",
            ),
            ("ttlSeconds", json!(2_592_001), "must be an integer"),
            ("ttlSeconds", json!(-1), "must be an integer"),
            ("ttlSeconds", json!(1.5), "must be an integer"),
            ("ttlSeconds", json!("60"), "must be an integer"),
            ("reason", json!(""), "must be 1 to 1024 bytes"),
            ("reason", json!(" "), "not blank"),
            ("reason", json!(long), "must be 1 to 1024 bytes"),
            ("reason", json!(huge), "must be 1 to 1024 bytes"),
            ("reason", json!("a\nb"), "control characters"),
            ("reason", Value::Null, "is required"),
            ("ticketUrl", json!("SEC-1"), "must be an http"),
            ("ticketUrl", json!("/SEC-1"), "must be an http"),
            ("ticketUrl", json!("javascript:alert(1)"), "must be an http"),
            (
                "ticketUrl",
                json!("https://me:hunter2@example/"),
                "credentials",
            ),
            ("ticketUrl", json!("https://a b/"), "must be an http"),
            ("ticketUrl", json!(5), "must be a string"),
            ("owner", json!("me"), "unknown; known are kind, value"),
        ] {
            let mut body = good();
            body[field] = value.clone();
            let BadEntry(errors) = read(ListName::Deny, &body).unwrap_err();
            assert_eq!(errors.len(), 1, "{errors:?}");
            assert_eq!(errors[0].field, field);
            assert!(errors[0].problem.contains(problem), "{errors:?}");
            assert!(errors[0].problem.len() < 200 && !errors[0].problem.contains("hunter2"));
        }
    }

    #[test]
    fn all_bad_fields_are_named_at_once() {
        let body = json!({"kind": "ip", "value": "x", "ttlSeconds": 0, "a": 1});
        let BadEntry(errors) = read(ListName::Deny, &body).unwrap_err();
        let fields: Vec<_> = errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, ["value", "ttlSeconds", "reason", "a"]);
        for no_object in ["", "[]", "{", "7", "\u{1}"] {
            let error = NewEntry::read(ListName::Deny, no_object.as_bytes(), &Rules::default());
            assert_eq!(error.unwrap_err().to_string(), "must be a JSON object");
        }
    }

    #[test]
    fn the_widest_network_can_be_configured() {
        let rules = Rules {
            min_prefix_v4: 0,
            min_prefix_v6: 0,
        };
        assert!(member(Kind::Cidr, "0.0.0.0/0", &rules).is_ok());
        assert!(member(Kind::Cidr, "10.0.0.0/8", &Rules::default()).is_ok());
        assert!(member(Kind::Cidr, "2001::/16", &Rules::default()).is_ok());
    }

    #[test]
    fn a_removal_may_say_why() {
        let url = "https://tickets.example/SEC-1";
        assert_eq!(Note::read(None, None), Ok(None));
        let note = Note::read(Some("a mistake"), Some(url)).unwrap().unwrap();
        assert_eq!(note.reason, "a mistake");
        assert_eq!(note.ticket_url.as_deref(), Some(url));
        let fields = |why, ticket| -> Vec<String> {
            let BadEntry(errors) = Note::read(why, ticket).unwrap_err();
            errors.into_iter().map(|error| error.field).collect()
        };
        assert_eq!(fields(None, Some(url)), ["reason"]);
        assert_eq!(
            fields(Some(" "), Some("javascript:alert(1)")),
            ["reason", "ticketUrl"]
        );
    }

    #[test]
    fn a_revocation_is_the_name_of_a_cached_key() {
        let hash = "AB".repeat(32);
        let entry = NewEntry::revocation(&format!("ghasi:apikey:{hash}")).unwrap();
        assert_eq!(entry.member.to_string(), "ab".repeat(32));
        assert_eq!(entry.ttl_ms, 120_000);
        for bad in ["ghasi:apikey:ab", "ghasi:token:ab", &hash] {
            assert!(NewEntry::revocation(bad).is_err(), "{bad}");
        }
    }
}
