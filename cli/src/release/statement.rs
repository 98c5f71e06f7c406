//! What a signature says beside the code. A statement is a custom section of the module, written before the
//! signature that covers it, so nobody can change a date without the key.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// The name of the section with the builder's statement.
pub const RELEASE: &str = "portcullis.release";
/// The name of a section with an approver's statement.
pub const APPROVAL: &str = "portcullis.approval";
/// What names of such sections begin with.
pub const PREFIX: &str = "portcullis.";
/// Bytes of a statement, at most.
pub const LONGEST: usize = 4096;

/// Which gateway a module is built for. One without the callbacks that do nothing would kill Kong's workers.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    Envoy,
    Kong,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Envoy => "envoy",
            Self::Kong => "kong",
        })
    }
}

/// What the builder says.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// What the file is called, without `.wasm`.
    pub module: String,
    pub gateway: Target,
    pub version: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    pub signed_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
}

/// What an approver says.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    pub environment: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    pub signed_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
}

/// Something that a statement may hold: short, and no control characters that could fool a terminal.
///
/// # Errors
/// What is wrong with it.
pub fn plain(text: &str) -> Result<String, String> {
    let fits = (1..=200).contains(&text.len()) && !text.chars().any(char::is_control);
    fits.then(|| text.to_owned())
        .ok_or_else(|| "1 to 200 bytes without control characters".to_owned())
}

impl Release {
    /// Whether every text in it is [`plain`].
    #[must_use]
    pub fn is_plain(&self) -> bool {
        [
            Some(&self.module),
            Some(&self.version),
            self.commit.as_ref(),
        ]
        .into_iter()
        .flatten()
        .all(|text| plain(text).is_ok())
    }
}

impl Approval {
    /// Whether every text in it is [`plain`].
    #[must_use]
    pub fn is_plain(&self) -> bool {
        [Some(&self.environment), self.ticket.as_ref()]
            .into_iter()
            .flatten()
            .all(|text| plain(text).is_ok())
    }
}
