//! `GET /v1/lists/{list}`: who is denied, who is slowed down, whose API key is revoked (D2, D3, T2, A8).
//!
//! # How a worker follows a list
//! Each change of a list (an entry added, prolonged or removed) has a version, one greater than the
//! last. A list is therefore the same as all changes after version 0, and one kind of answer, a
//! [`Page`], serves as snapshot and as delta. A worker asks with what it has,
//! `?epoch={epoch}&after={version}`, and gets
//! - 304, when nothing has changed;
//! - a page with `from` = its version: changes to make, in order;
//! - a page with `from` = 0: the list from its beginning, because the worker has nothing, because the service
//!   lost its store (another `epoch`), or because it no longer knows what was removed since then.
//!   The worker goes on with what it had until the last page is here.
//!
//! `to` < `last` says that more follows; the worker asks again at once. A page holds
//! [`PAGE_CHANGES`] changes at most, so that no callback of a worker takes long.
//!
//! # The page
//! Lines of text, each ended by LF, media type [`MEDIA_TYPE`]:
//! ```text
//! portcullis-list 1
//! list deny
//! epoch 5f3a
//! from 0
//! to 3
//! last 3
//! + cidr 192.0.2.0/24 3600000
//! + ja4 t13d1516h2_8daaf6152771_e5627efa2ab1 86400000
//! - ip 2001:db8::1
//! end 3
//! ```
//! An added member comes with the milliseconds that it has left, so that clocks need not agree; a worker
//! releases it by itself. `end` counts the changes: a page without it was cut off.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Where the lists are; the name of one follows.
pub const LISTS_PATH: &str = "/v1/lists/";
/// What a page is.
pub const MEDIA_TYPE: &str = "text/vnd.portcullis.list";
/// Most changes in a page.
pub const PAGE_CHANGES: usize = 10_000;
/// Longest page, bytes.
pub const MAX_PAGE_BYTES: usize = 1_536 * 1_024;
/// Longest `epoch`.
pub const MAX_EPOCH_BYTES: usize = 64;
/// How often a worker asks, milliseconds, before jitter: a change is effective within two seconds (D3).
pub const POLL_MS: u64 = 750;
/// Longest life of an entry: 30 days, milliseconds.
pub const MAX_TTL_MS: u64 = 30 * 24 * 3_600 * 1_000;

const MAGIC: &str = "portcullis-list 1";

/// The lists there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ListName {
    /// Clients that are refused.
    Deny,
    /// Clients that are answered late.
    Tarpit,
    /// API keys whose cached owners are to be forgotten.
    Revoked,
}

impl ListName {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Deny, Self::Tarpit, Self::Revoked];

    /// The name in paths and pages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Tarpit => "tarpit",
            Self::Revoked => "revoked",
        }
    }
}

impl fmt::Display for ListName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ListName {
    type Err = UnknownList;

    fn from_str(text: &str) -> Result<Self, UnknownList> {
        match text {
            "deny" => Ok(Self::Deny),
            "tarpit" => Ok(Self::Tarpit),
            "revoked" => Ok(Self::Revoked),
            _ => Err(UnknownList),
        }
    }
}

/// There is no such list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownList;

/// What kind of thing a member of a list is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Kind {
    /// A JA3 fingerprint: the MD5 of a TLS client hello, 32 hexadecimal digits.
    Ja3,
    /// A JA4 fingerprint, such as `t13d1516h2_8daaf6152771_e5627efa2ab1`.
    Ja4,
    /// One address.
    Ip,
    /// A network.
    Cidr,
    /// The SHA-256 of an API key, 64 hexadecimal digits. Only in [`ListName::Revoked`].
    ApiKey,
}

impl Kind {
    /// Those that can be said of a client.
    pub const CLIENTS: [Self; 4] = [Self::Ja3, Self::Ja4, Self::Ip, Self::Cidr];
}

impl Kind {
    /// The name in pages, bodies and labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ja3 => "ja3",
            Self::Ja4 => "ja4",
            Self::Ip => "ip",
            Self::Cidr => "cidr",
            Self::ApiKey => "apikey",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A member of a list, in its one canonical form: two texts that mean the same client are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Member {
    Ja3([u8; 16]),
    Ja4(Ja4),
    /// IPv4-mapped IPv6 addresses are IPv4 addresses.
    Ip(IpAddr),
    /// Without host bits; never a single address, which is an [`Member::Ip`].
    Cidr(IpNet),
    ApiKey([u8; 32]),
}

/// A JA4 fingerprint: `a_b_c`, of 10, 12 and 12 characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ja4([u8; 36]);

impl Ja4 {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl FromStr for Ja4 {
    type Err = BadMember;

    fn from_str(text: &str) -> Result<Self, BadMember> {
        const BAD: BadMember =
            BadMember("must be a JA4 fingerprint such as t13d1516h2_8daaf6152771_e5627efa2ab1");
        let bytes: [u8; 36] = text.as_bytes().try_into().map_err(|_| BAD)?;
        let fits = bytes.iter().enumerate().all(|(at, byte)| match at {
            10 | 23 => *byte == b'_',
            0..=9 => byte.is_ascii_digit() || byte.is_ascii_lowercase(),
            _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(byte),
        });
        if fits { Ok(Self(bytes)) } else { Err(BAD) }
    }
}

/// Why a value is no member of that kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadMember(pub &'static str);

impl fmt::Display for BadMember {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for BadMember {}

impl Member {
    /// Reads a value of a kind. Hexadecimal digits may be of either case; host bits of a network are
    /// dropped; a network of one address becomes that address.
    ///
    /// # Errors
    /// What the value should have been.
    pub fn parse(kind: Kind, value: &str) -> Result<Self, BadMember> {
        match kind {
            Kind::Ja3 => digest(value)
                .map(Self::Ja3)
                .ok_or(BadMember("must be 32 hexadecimal digits, the MD5 of JA3")),
            Kind::Ja4 => value.parse().map(Self::Ja4),
            Kind::Ip => value
                .parse::<IpAddr>()
                .map(|address| Self::Ip(address.to_canonical()))
                .map_err(|_| BadMember("must be an IPv4 or IPv6 address")),
            Kind::Cidr => value
                .parse::<IpNet>()
                .map(|net| Self::network(canonical(net)))
                .map_err(|_| BadMember("must be a network such as 192.0.2.0/24 or 2001:db8::/32")),
            Kind::ApiKey => digest(value).map(Self::ApiKey).ok_or(BadMember(
                "must be 64 hexadecimal digits, the SHA-256 of the key",
            )),
        }
    }

    /// What kind of member it is. A network of one address is an address.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Ja3(_) => Kind::Ja3,
            Self::Ja4(_) => Kind::Ja4,
            Self::Ip(_) => Kind::Ip,
            Self::Cidr(_) => Kind::Cidr,
            Self::ApiKey(_) => Kind::ApiKey,
        }
    }

    fn network(net: IpNet) -> Self {
        if net.prefix_len() == net.max_prefix_len() {
            Self::Ip(net.addr())
        } else {
            Self::Cidr(net)
        }
    }
}

/// The canonical value, without its kind.
impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = |f: &mut fmt::Formatter<'_>, bytes: &[u8]| {
            bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
        };
        match self {
            Self::Ja3(bytes) => hex(f, bytes),
            Self::Ja4(ja4) => f.write_str(ja4.as_str()),
            Self::Ip(address) => write!(f, "{address}"),
            Self::Cidr(net) => write!(f, "{net}"),
            Self::ApiKey(bytes) => hex(f, bytes),
        }
    }
}

/// `::ffff:192.0.2.0/120` is `192.0.2.0/24`; host bits are dropped.
fn canonical(net: IpNet) -> IpNet {
    let net = net.trunc();
    if let IpNet::V6(v6) = net
        && let Some(v4) = v6.addr().to_ipv4_mapped()
        && let Some(prefix) = v6.prefix_len().checked_sub(96)
        && let Ok(v4) = ipnet::Ipv4Net::new(v4, prefix)
    {
        return IpNet::V4(v4);
    }
    net
}

fn digest<const N: usize>(text: &str) -> Option<[u8; N]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() || pairs.len() != N {
        return None;
    }
    let mut out = [0; N];
    for (byte, [high, low]) in out.iter_mut().zip(pairs) {
        let digit = |d: u8| {
            char::from(d)
                .to_digit(16)
                .and_then(|d| u8::try_from(d).ok())
        };
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(out)
}

/// A change of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The member is on the list for so many milliseconds from now, whether or not it was before.
    Add { member: Member, ttl_ms: u64 },
    /// The member is not on the list, whether or not it was before.
    Remove(Member),
}

/// Some changes of a list, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub list: ListName,
    /// Which life of the store the versions belong to: letters, digits, `-` and `_`.
    pub epoch: String,
    /// The changes are those after this version.
    pub from: u64,
    /// The version after these changes.
    pub to: u64,
    /// The newest version there is.
    pub last: u64,
    pub changes: Vec<Change>,
}

impl Page {
    /// The page as it is sent.
    #[must_use]
    pub fn encode(&self) -> String {
        use fmt::Write as _;
        let mut out =
            String::with_capacity(self.changes.len().saturating_mul(48).saturating_add(128));
        let Self {
            list,
            epoch,
            from,
            to,
            last,
            changes,
        } = self;
        let _ = write!(
            out,
            "{MAGIC}\nlist {list}\nepoch {epoch}\nfrom {from}\nto {to}\nlast {last}\n"
        );
        for change in changes {
            let _ = match change {
                Change::Add { member, ttl_ms } => {
                    writeln!(out, "+ {} {member} {ttl_ms}", member.kind())
                }
                Change::Remove(member) => writeln!(out, "- {} {member}", member.kind()),
            };
        }
        let _ = writeln!(out, "end {}", changes.len());
        out
    }

    /// Reads a page, whole or not at all.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadPage> {
        let text = std::str::from_utf8(bytes).map_err(|_| BadPage::Format)?;
        let mut lines = text.strip_suffix('\n').ok_or(BadPage::CutOff)?.split('\n');
        if lines.next() != Some(MAGIC) {
            return Err(BadPage::Format);
        }
        let mut field = |name: &str| {
            let (key, value) = lines.next()?.split_once(' ')?;
            (key == name).then_some(value)
        };
        let list = field("list")
            .and_then(|name| name.parse().ok())
            .ok_or(BadPage::Head)?;
        let epoch = field("epoch")
            .filter(|epoch| is_epoch(epoch))
            .ok_or(BadPage::Head)?
            .to_owned();
        let mut version = |name| field(name)?.parse::<u64>().ok();
        let from = version("from").ok_or(BadPage::Head)?;
        let to = version("to").ok_or(BadPage::Head)?;
        let last = version("last").ok_or(BadPage::Head)?;
        if from > to || to > last {
            return Err(BadPage::Head);
        }
        let mut changes = Vec::new();
        for line in lines.by_ref() {
            if let Some(count) = line.strip_prefix("end ") {
                if count.parse() != Ok(changes.len()) || lines.next().is_some() {
                    return Err(BadPage::CutOff);
                }
                return Ok(Self {
                    list,
                    epoch,
                    from,
                    to,
                    last,
                    changes,
                });
            }
            changes.push(change(line).ok_or(BadPage::Change)?);
            if changes.len() > PAGE_CHANGES {
                return Err(BadPage::TooLong);
            }
        }
        Err(BadPage::CutOff)
    }
}

fn change(line: &str) -> Option<Change> {
    let mut words = line.split(' ');
    let sign = words.next()?;
    let kind = match words.next()? {
        "ja3" => Kind::Ja3,
        "ja4" => Kind::Ja4,
        "ip" => Kind::Ip,
        "cidr" => Kind::Cidr,
        "apikey" => Kind::ApiKey,
        _ => return None,
    };
    let member = Member::parse(kind, words.next()?).ok()?;
    let change = match sign {
        "+" => Change::Add {
            member,
            ttl_ms: words
                .next()?
                .parse()
                .ok()
                .filter(|ttl| *ttl <= MAX_TTL_MS)?,
        },
        "-" => Change::Remove(member),
        _ => return None,
    };
    words.next().is_none().then_some(change)
}

/// Whether this may be an epoch.
#[must_use]
pub fn is_epoch(text: &str) -> bool {
    (1..=MAX_EPOCH_BYTES).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// Why a page cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadPage {
    /// It is none, or of another version of this format.
    Format,
    /// Its first lines make no sense.
    Head,
    /// A change makes no sense.
    Change,
    /// It has no end.
    CutOff,
    /// It has more than [`PAGE_CHANGES`] changes.
    TooLong,
}

impl BadPage {
    /// A word for logs and labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Format => "format",
            Self::Head => "head",
            Self::Change => "change",
            Self::CutOff => "cut_off",
            Self::TooLong => "too_long",
        }
    }
}

impl fmt::Display for BadPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::error::Error for BadPage {}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(kind: Kind, value: &str) -> Member {
        Member::parse(kind, value).unwrap()
    }

    fn page() -> Page {
        let add = |kind, value| Change::Add {
            member: member(kind, value),
            ttl_ms: 3_600_000,
        };
        Page {
            list: ListName::Deny,
            epoch: "5f3a".into(),
            from: 0,
            to: 5,
            last: 9,
            changes: vec![
                add(Kind::Cidr, "192.0.2.0/24"),
                add(Kind::Ja4, "t13d1516h2_8daaf6152771_e5627efa2ab1"),
                add(Kind::Ja3, "e7d705a3286e19ea42f587b344ee6865"),
                Change::Remove(member(Kind::Ip, "2001:db8::1")),
                add(Kind::ApiKey, &"ab".repeat(32)),
            ],
        }
    }

    #[test]
    fn a_page_is_read_as_it_was_written() {
        assert_eq!(Page::decode(page().encode().as_bytes()), Ok(page()));
    }

    #[test]
    fn the_longest_page_fits() {
        let change = Change::Add {
            member: member(Kind::ApiKey, &"ab".repeat(32)),
            ttl_ms: MAX_TTL_MS,
        };
        let page = Page {
            changes: vec![change; PAGE_CHANGES],
            epoch: "e".repeat(MAX_EPOCH_BYTES),
            to: u64::MAX,
            last: u64::MAX,
            ..page()
        };
        assert!(page.encode().len() <= MAX_PAGE_BYTES);
        assert_eq!(Page::decode(page.encode().as_bytes()), Ok(page));
    }

    #[test]
    fn a_page_cut_off_anywhere_is_refused() {
        let whole = page().encode();
        for length in 0..whole.len() {
            assert!(
                Page::decode(&whole.as_bytes()[..length]).is_err(),
                "{length}"
            );
        }
    }

    #[test]
    fn a_page_that_makes_no_sense_is_refused() {
        let whole = page().encode();
        for (from, to, why) in [
            ("portcullis-list 1", "portcullis-list 2", BadPage::Format),
            ("list deny", "list guests", BadPage::Head),
            ("epoch 5f3a", "epoch ", BadPage::Head),
            ("epoch 5f3a", "epoch a b", BadPage::Head),
            ("from 0", "from 6", BadPage::Head),
            ("last 9", "last 4", BadPage::Head),
            ("last 9", "last 99999999999999999999", BadPage::Head),
            ("+ cidr", "* cidr", BadPage::Change),
            ("+ cidr", "+ net", BadPage::Change),
            ("192.0.2.0/24", "192.0.2.0/33", BadPage::Change),
            (" 3600000\n", " 2592000001\n", BadPage::Change),
            (" 3600000\n", " 3600000 x\n", BadPage::Change),
            ("end 5", "end 4", BadPage::CutOff),
            ("end 5\n", "end 5\n\n", BadPage::CutOff),
        ] {
            let bad = whole.replacen(from, to, 1);
            assert_ne!(bad, whole, "{from}");
            assert_eq!(Page::decode(bad.as_bytes()), Err(why), "{from} -> {to}");
        }
        assert_eq!(Page::decode(b"\xff\n"), Err(BadPage::Format));
    }

    #[test]
    fn what_means_the_same_client_is_equal() {
        for (kind, one, other) in [
            (Kind::Ip, "::ffff:192.0.2.1", "192.0.2.1"),
            (Kind::Ip, "2001:DB8:0::1", "2001:db8::1"),
            (Kind::Cidr, "192.0.2.77/24", "192.0.2.0/24"),
            (Kind::Cidr, "::ffff:192.0.2.77/120", "192.0.2.0/24"),
            (
                Kind::Ja3,
                "E7D705A3286E19EA42F587B344EE6865",
                "e7d705a3286e19ea42f587b344ee6865",
            ),
        ] {
            assert_eq!(member(kind, one), member(kind, other));
            assert_eq!(member(kind, one).to_string(), other);
        }
        assert_eq!(
            member(Kind::Cidr, "192.0.2.1/32"),
            member(Kind::Ip, "192.0.2.1")
        );
        assert_eq!(member(Kind::Cidr, "::/0").to_string(), "::/0");
    }

    #[test]
    fn what_is_no_member_is_refused() {
        for (kind, value) in [
            (Kind::Ja3, "e7d7"),
            (Kind::Ja3, "g7d705a3286e19ea42f587b344ee6865"),
            (Kind::Ja4, "t13d1516h2-8daaf6152771_e5627efa2ab1"),
            (Kind::Ja4, "t13d1516h2_8daaf6152771_e5627efa2ab"),
            (Kind::Ja4, "t13d1516h2_8daaf6152771_e5627efa2aé"),
            (Kind::Ip, "192.0.2.0/24"),
            (Kind::Ip, "192.0.2.256"),
            (Kind::Ip, ""),
            (Kind::Cidr, "192.0.2.1"),
            (Kind::Cidr, "192.0.2.0/-1"),
            (Kind::ApiKey, "ab"),
        ] {
            assert!(Member::parse(kind, value).is_err(), "{kind} {value}");
        }
    }
}
