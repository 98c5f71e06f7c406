//! Who a client certificate is for, and who may use the control API (C1).

use std::fmt;

use rustls::pki_types::CertificateDer;
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer as _, X509Certificate},
};

/// Longest SPIFFE ID, bytes, as the SPIFFE standard says.
pub const MAX_SPIFFE_BYTES: usize = 2_048;
/// Longest common name, bytes, as X.520 says.
pub const MAX_NAME_BYTES: usize = 64;
const SCHEME: &str = "spiffe://";

/// What a certificate says of its holder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Its SPIFFE ID: the one URI among its alternative names. With several there is none, as SPIFFE demands.
    pub spiffe: Option<String>,
    /// Its subject's common name, unless there are several.
    pub name: Option<String>,
    /// The second after which it is no longer valid, since 1970.
    pub not_after: u64,
}

impl Identity {
    /// Reads a certificate; `None`: it cannot be read.
    #[must_use]
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let mut uris = Vec::new();
        if let Ok(Some(names)) = certificate.subject_alternative_name() {
            uris.extend(
                names
                    .value
                    .general_names
                    .iter()
                    .filter_map(|name| match name {
                        GeneralName::URI(uri) => Some(*uri),
                        _ => None,
                    }),
            );
        }
        let mut names = certificate.subject().iter_common_name();
        let name = match (names.next(), names.next()) {
            (Some(name), None) => name.as_str().ok().filter(|name| is_name(name)),
            _ => None,
        };
        let spiffe = match uris.as_slice() {
            [uri] if is_spiffe(uri) => Some((*uri).to_owned()),
            _ => None,
        };
        Some(Self {
            spiffe,
            name: name.map(str::to_owned),
            not_after: certificate
                .validity()
                .not_after
                .timestamp()
                .try_into()
                .unwrap_or(0),
        })
    }
}

/// What it is called in logs: the SPIFFE ID, else the common name.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            self.spiffe
                .as_deref()
                .or(self.name.as_deref())
                .unwrap_or_default(),
        )
    }
}

fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len())
        && !text.chars().any(char::is_control)
        && !text.starts_with(SCHEME)
}

/// `spiffe://` trust domain `/` path, without anything that two readers could understand differently.
fn is_spiffe(text: &str) -> bool {
    let Some((domain, path)) = text
        .strip_prefix(SCHEME)
        .and_then(|rest| rest.split_once('/'))
    else {
        return false;
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    text.len() <= MAX_SPIFFE_BYTES
        && !domain.is_empty()
        && domain.bytes().all(|b| plain(b) && !b.is_ascii_uppercase())
        && path
            .split('/')
            .all(|part| !matches!(part, "" | "." | "..") && part.bytes().all(plain))
}

/// Who may use the control API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allow(Vec<Pattern>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    /// This SPIFFE ID.
    Spiffe(String),
    /// Every SPIFFE ID that starts with this, which ends in `/`.
    Below(String),
    /// This common name.
    Name(String),
}

impl Allow {
    /// Reads the list: a SPIFFE ID, a SPIFFE ID that ends in `/*` for all below it, or a common name.
    ///
    /// # Errors
    /// The number of the first entry that is none of these, from 0, and what it should be.
    pub fn new<T: AsRef<str>>(entries: &[T]) -> Result<Self, (usize, &'static str)> {
        let pattern = |(at, entry): (usize, &T)| pattern(entry.as_ref()).map_err(|why| (at, why));
        let patterns: Vec<_> = entries
            .iter()
            .enumerate()
            .map(pattern)
            .collect::<Result<_, _>>()?;
        if patterns.is_empty() {
            return Err((0, "must name at least one client"));
        }
        Ok(Self(patterns))
    }

    /// As whom the client may use the control API; `None`: it may not.
    #[must_use]
    pub fn admits<'a>(&self, client: &'a Identity) -> Option<&'a str> {
        let spiffe = client.spiffe.as_deref();
        let name = client.name.as_deref();
        self.0.iter().find_map(|pattern| match pattern {
            Pattern::Spiffe(id) => spiffe.filter(|spiffe| spiffe == id),
            Pattern::Below(prefix) => spiffe.filter(|spiffe| spiffe.starts_with(prefix.as_str())),
            Pattern::Name(own) => name.filter(|name| name == own),
        })
    }
}

fn pattern(entry: &str) -> Result<Pattern, &'static str> {
    if let Some(prefix) = entry.strip_suffix('*')
        && entry.starts_with(SCHEME)
    {
        // Something below it must be an ID.
        let fits = prefix.ends_with('/') && is_spiffe(&format!("{prefix}x"));
        return if fits {
            Ok(Pattern::Below(prefix.to_owned()))
        } else {
            Err("must be a SPIFFE ID that ends in /*")
        };
    }
    match entry {
        id if is_spiffe(id) => Ok(Pattern::Spiffe(id.to_owned())),
        name if is_name(name) => Ok(Pattern::Name(name.to_owned())),
        _ => Err("must be a SPIFFE ID, one that ends in /*, or a common name of 1 to 64 bytes"),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn certificate(names: &[&str], uris: &[&str]) -> Identity {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for name in names {
            params.distinguished_name.push(DnType::CommonName, *name);
        }
        for uri in uris {
            params
                .subject_alt_names
                .push(SanType::URI((*uri).try_into().unwrap()));
        }
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        let key = KeyPair::generate().unwrap();
        Identity::of(params.self_signed(&key).unwrap().der()).unwrap()
    }

    fn spiffe(id: &str) -> Identity {
        Identity {
            spiffe: Some(id.to_owned()),
            ..Identity::default()
        }
    }

    #[test]
    fn a_certificate_is_for_its_uri_and_its_common_name() {
        let both = certificate(&["soc"], &["spiffe://portcullis.local/soc"]);
        assert_eq!(
            both.spiffe.as_deref(),
            Some("spiffe://portcullis.local/soc")
        );
        assert_eq!(both.name.as_deref(), Some("soc"));
        assert_eq!(both.not_after, 1_893_456_000);
        assert_eq!(both.to_string(), "spiffe://portcullis.local/soc");
        let name = certificate(&["soc"], &[]);
        assert_eq!(
            (name.spiffe.as_deref(), name.to_string()),
            (None, "soc".to_owned())
        );
        assert_eq!(
            certificate(&[], &[]),
            Identity {
                not_after: 1_893_456_000,
                ..Identity::default()
            }
        );
        assert_eq!(Identity::of(&CertificateDer::from(vec![0x30, 0x00])), None);
    }

    #[test]
    fn what_is_ambiguous_is_nobody() {
        let two = [
            "spiffe://portcullis.local/soc",
            "spiffe://portcullis.local/other",
        ];
        assert_eq!(certificate(&[], &two).spiffe, None);
        assert_eq!(
            certificate(&["spiffe://portcullis.local/soc"], &[]).name,
            None
        );
        for uri in [
            "https://portcullis.local/soc",
            "spiffe://portcullis.local/",
            "spiffe://portcullis.local",
            "spiffe:///soc",
            "spiffe://Portcullis.local/soc",
            "spiffe://portcullis.local/soc/../admin",
            "spiffe://portcullis.local/soc//x",
            "spiffe://portcullis.local/soc%2fx",
            "spiffe://portcullis.local/soc?x",
            "spiffe://portcullis.local:1/soc",
        ] {
            assert_eq!(certificate(&[], &[uri]).spiffe, None, "{uri}");
        }
    }

    #[test]
    fn the_list_admits_who_is_on_it() {
        let allow = Allow::new(&["spiffe://a.b/soc", "spiffe://a.b/team/*", "tool"]).unwrap();
        for id in [
            "spiffe://a.b/soc",
            "spiffe://a.b/team/x",
            "spiffe://a.b/team/x/y",
        ] {
            assert_eq!(allow.admits(&spiffe(id)), Some(id));
        }
        for id in [
            "spiffe://a.b/soc/x",
            "spiffe://a.b/so",
            "spiffe://a.b/team",
            "spiffe://a.b/teams",
            "spiffe://a.bc/soc",
        ] {
            assert_eq!(allow.admits(&spiffe(id)), None, "{id}");
        }
        let tool = Identity {
            name: Some("tool".to_owned()),
            spiffe: Some("spiffe://a.b/other".to_owned()),
            ..Identity::default()
        };
        assert_eq!(allow.admits(&tool), Some("tool"));
        assert_eq!(allow.admits(&Identity::default()), None);
    }

    #[test]
    fn a_list_that_cannot_be_meant_is_refused() {
        for bad in [
            "",
            "spiffe://",
            "spiffe://a.b",
            "spiffe://*",
            "spiffe://a.b/so*",
            "spiffe://a.b/../*",
            "a\nb",
        ] {
            assert!(
                Allow::new(&["tool", bad]).is_err_and(|(at, _)| at == 1),
                "{bad:?}"
            );
        }
        assert!(Allow::new::<&str>(&[]).is_err());
        assert!(
            Allow::new(&["spiffe://a.b/*"]).is_ok(),
            "a whole trust domain"
        );
    }
}
