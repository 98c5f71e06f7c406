//! Which signatures an environment needs, and whether a module has them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::outcome::Failure;
use crate::release::files;
use crate::release::keys::PublicKey;
use crate::release::module::{Flaw, Signed};
use crate::release::statement::{Target, plain};

/// The role of keys that sign what was built.
pub const BUILD: &str = "build";
const EXPIRED: &str = "expired";
/// By how much clocks may differ.
const SKEW: Duration = Duration::minutes(5);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPolicy {
    #[serde(default)]
    modules: Option<BTreeSet<String>>,
    #[serde(default)]
    revoked: BTreeSet<String>,
    keys: BTreeMap<String, RawKey>,
    environments: BTreeMap<String, Environment>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKey {
    role: String,
    file: Option<PathBuf>,
    pem: Option<String>,
    #[serde(default, with = "time::serde::rfc3339::option")]
    not_after: Option<OffsetDateTime>,
}

/// What an environment asks of a module.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Environment {
    /// Role to how many different keys of it.
    needs: BTreeMap<String, usize>,
    /// Days since the builder signed, at most.
    max_age_days: Option<u16>,
}

/// A key, and what its signature means.
#[derive(Debug)]
struct Key {
    name: String,
    /// `build`, or the environment that it approves for.
    role: String,
    public: PublicKey,
    not_after: Option<OffsetDateTime>,
}

/// What a policy file says.
#[derive(Debug)]
pub struct Policy {
    modules: Option<BTreeSet<String>>,
    revoked: BTreeSet<String>,
    keys: Vec<Key>,
    environments: BTreeMap<String, Environment>,
}

impl Policy {
    /// Reads a policy in TOML; `file` of a key is relative to the policy.
    ///
    /// # Errors
    /// When it cannot be read, or asks for what cannot be.
    pub fn load(path: &Path) -> Result<Self, Failure> {
        let text = files::read_text(path)?;
        let raw: RawPolicy =
            toml::from_str(&text).map_err(|e| Failure::of_file(path, e.to_string().trim_end()))?;
        let folder = path.parent().unwrap_or_else(|| Path::new(""));
        Self::new(raw, folder).map_err(|why| Failure::of_file(path, why))
    }

    fn new(raw: RawPolicy, folder: &Path) -> Result<Self, String> {
        let mut keys: Vec<Key> = Vec::new();
        for (name, key) in raw.keys {
            let at = |why: String| format!("keys.{name}: {why}");
            plain(&name).map_err(at)?;
            if key.role != BUILD && !raw.environments.contains_key(&key.role) {
                return Err(at(format!(
                    "role: neither \"build\" nor an environment: {:?}",
                    key.role
                )));
            }
            let pem = match (key.file, key.pem) {
                (Some(file), None) => {
                    let file = folder.join(file);
                    std::fs::read_to_string(&file)
                        .map_err(|e| at(format!("{}: {e}", file.display())))?
                }
                (None, Some(pem)) => pem,
                _ => return Err(at("either file or pem".to_owned())),
            };
            let public = PublicKey::from_pem(&pem).map_err(|why| at(why.to_owned()))?;
            if let Some(same) = keys.iter().find(|it| it.public == public) {
                return Err(at(format!(
                    "the same key as keys.{}: one key has one role, so that one signature means one thing",
                    same.name
                )));
            }
            keys.push(Key {
                name,
                role: key.role,
                public,
                not_after: key.not_after,
            });
        }
        for (name, environment) in &raw.environments {
            let at = |why: String| format!("environments.{name}.needs: {why}");
            plain(name).map_err(at)?;
            if name == BUILD {
                return Err(at("\"build\" is no environment".to_owned()));
            }
            if environment.needs.get(BUILD).is_none_or(|count| *count == 0) {
                return Err(at("build = 1 at least".to_owned()));
            }
            if environment.needs.get(BUILD).is_some_and(|count| *count > 1) {
                return Err(at("build = 1: one builder signs a module".to_owned()));
            }
            for (role, count) in &environment.needs {
                let there = keys.iter().filter(|key| key.role == *role).count();
                if *count == 0 || *count > there {
                    return Err(at(format!(
                        "{role} = {count}, of {there} keys with that role"
                    )));
                }
            }
        }
        for digest in &raw.revoked {
            if digest.len() != 64
                || !digest
                    .bytes()
                    .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
            {
                return Err(format!(
                    "revoked: no SHA-256 in lower-case hexadecimal: {digest:?}"
                ));
            }
        }
        Ok(Self {
            modules: raw.modules,
            revoked: raw.revoked,
            keys,
            environments: raw.environments,
        })
    }

    /// The key of this partner, if it may approve for that environment.
    #[must_use]
    pub fn may_approve(&self, key: &PublicKey, environment: &str) -> bool {
        let mut keys = self.keys.iter();
        keys.any(|it| it.public == *key && it.role == environment)
    }

    /// Whether one of the builders' keys, not past its time, has signed these bytes; its name.
    #[must_use]
    pub fn builder_of(&self, bytes: &[u8], signature: &[u8], at: OffsetDateTime) -> Option<&str> {
        let mut builders = self
            .keys
            .iter()
            .filter(|key| key.role == BUILD && key.holds(at));
        builders
            .find(|key| key.public.verifies(bytes, signature))
            .map(|key| key.name.as_str())
    }

    fn environment(&self, name: &str) -> Result<&Environment, Failure> {
        self.environments.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.environments.keys().map(String::as_str).collect();
            Failure::new(format!(
                "the policy has no environment {name:?}: {}",
                known.join(", ")
            ))
        })
    }

    /// Judges a module for an environment, as of a time. With `promoting`, that environment's own approvals are not
    /// asked for yet.
    ///
    /// # Errors
    /// When the policy has no such environment.
    pub fn judge(
        &self,
        bytes: &[u8],
        asked: &Asked<'_>,
        promoting: bool,
    ) -> Result<Verdict, Failure> {
        let environment = self.environment(asked.environment)?;
        let mut verdict = Verdict::new(asked, bytes);
        let signed = match Signed::parse(bytes) {
            Ok(signed) => signed,
            Err(flaw) => return Ok(verdict.with_flaw(&flaw)),
        };
        let signers = match signed.signers(self.keys.iter().map(|key| &key.public)) {
            Ok(signers) => signers,
            Err(flaw) => return Ok(verdict.with_flaw(&flaw)),
        };
        verdict.describe(&signed);
        self.judge_module(&signed, asked, &mut verdict);
        self.judge_signatures(&signed, &signers, asked, &mut verdict);
        for (role, count) in &environment.needs {
            if !(promoting && role == asked.environment) {
                verdict.need(role, *count);
            }
        }
        let age = environment
            .max_age_days
            .map(|days| Duration::days(i64::from(days)));
        if let Some(age) = age
            && signed
                .release
                .signed_at
                .checked_add(age)
                .is_none_or(|end| asked.at > end)
        {
            verdict.problem(
                "too_old",
                format!("built more than {} days ago", age.whole_days()),
            );
        }
        Ok(verdict)
    }

    fn judge_module(&self, signed: &Signed, asked: &Asked<'_>, verdict: &mut Verdict) {
        let release = &signed.release;
        if asked.name.is_some_and(|name| name != release.module) {
            verdict.problem(
                "wrong_module",
                format!(
                    "it was signed as {}, not as {}",
                    release.module,
                    asked.name.unwrap_or_default()
                ),
            );
        }
        if let Some(gateway) = asked.gateway
            && gateway != release.gateway
        {
            verdict.problem(
                "wrong_gateway",
                format!("built for {}, not for {gateway}", release.gateway),
            );
        }
        if let Some(modules) = &self.modules
            && !modules.contains(&release.module)
        {
            verdict.problem(
                "unknown_module",
                format!("the policy does not list {}", release.module),
            );
        }
        if self.revoked.contains(signed.code()) {
            verdict.problem("revoked", "the policy has revoked it".to_owned());
        }
    }

    fn judge_signatures(
        &self,
        signed: &Signed,
        signers: &[&PublicKey],
        asked: &Asked<'_>,
        verdict: &mut Verdict,
    ) {
        let release = &signed.release;
        let builder = std::iter::once((BUILD, release.signed_at, release.expires_at, None));
        let approvers = signed.approvals.iter().map(|it| {
            (
                it.environment.as_str(),
                it.signed_at,
                it.expires_at,
                it.ticket.clone(),
            )
        });
        for ((role, signed_at, expires_at, ticket), public) in builder.chain(approvers).zip(signers)
        {
            let Some(key) = self.keys.iter().find(|key| key.public == **public) else {
                continue;
            };
            if key.role != role {
                verdict.problem(
                    "wrong_role",
                    format!(
                        "the key {} is for {}, but has signed for {role}",
                        key.name, key.role
                    ),
                );
            }
            let not_counted = if key.role != role {
                Some("another role's key".to_owned())
            } else if asked.at > expires_at {
                Some(format!("{EXPIRED} on {}", date(expires_at)))
            } else if !key.holds(asked.at) {
                Some("the key is past its time".to_owned())
            } else if signed_at > asked.at.saturating_add(SKEW) {
                Some("signed in the future".to_owned())
            } else {
                None
            };
            verdict.signatures.push(SignatureReport {
                role: role.to_owned(),
                key: key.name.clone(),
                key_id: key.public.id(),
                signed_at,
                expires_at,
                ticket,
                not_counted,
            });
        }
    }
}

impl Key {
    fn holds(&self, at: OffsetDateTime) -> bool {
        self.not_after.is_none_or(|end| at <= end)
    }
}

/// What a module is to be judged for.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    /// Where it was found.
    pub source: String,
    pub environment: &'a str,
    pub at: OffsetDateTime,
    /// What it has to have been signed as.
    pub name: Option<&'a str>,
    pub gateway: Option<Target>,
}

/// Whether a module is trusted, and why.
#[derive(Debug, Serialize)]
pub struct Verdict {
    source: String,
    environment: String,
    pub trusted: bool,
    /// Of the file.
    sha256: String,
    /// Of what was built.
    pub code_sha256: Option<String>,
    module: Option<String>,
    pub gateway: Option<Target>,
    version: Option<String>,
    commit: Option<String>,
    /// The builder's key that vouches for how it was built, if that was asked.
    pub provenance: Option<String>,
    signatures: Vec<SignatureReport>,
    problems: Vec<Problem>,
}

/// One signature that holds.
#[derive(Debug, Serialize)]
struct SignatureReport {
    role: String,
    key: String,
    key_id: String,
    #[serde(with = "time::serde::rfc3339")]
    signed_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    expires_at: OffsetDateTime,
    ticket: Option<String>,
    /// Why it does not count, if so.
    not_counted: Option<String>,
}

/// Why a module is refused.
#[derive(Debug, Serialize)]
struct Problem {
    code: &'static str,
    message: String,
}

impl Verdict {
    fn new(asked: &Asked<'_>, bytes: &[u8]) -> Self {
        Self {
            source: asked.source.clone(),
            environment: asked.environment.to_owned(),
            trusted: true,
            sha256: files::sha256(bytes),
            code_sha256: None,
            module: None,
            gateway: None,
            version: None,
            commit: None,
            provenance: None,
            signatures: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// Asks for so many different keys' signatures.
    fn need(&mut self, role: &str, count: usize) {
        let of_role = || self.signatures.iter().filter(|it| it.role == role);
        let counted = of_role().filter(|it| it.not_counted.is_none());
        let keys: BTreeSet<&str> = counted.map(|it| it.key.as_str()).collect();
        if keys.len() >= count {
            return;
        }
        let mut message = format!("{} of {count} signatures for {role}", keys.len());
        let mut code = "missing_signature";
        for it in of_role() {
            if let Some(why) = &it.not_counted {
                message.push_str(&format!("; {}'s: {why}", it.key));
                if why.starts_with(EXPIRED) {
                    code = "expired";
                }
            }
        }
        self.problem(code, message);
    }

    /// Whether this key's approval for the environment counts already.
    #[must_use]
    pub fn counts(&self, key: &PublicKey) -> bool {
        let id = key.id();
        let mut signatures = self.signatures.iter();
        signatures.any(|it| it.key_id == id && it.not_counted.is_none())
    }

    fn describe(&mut self, signed: &Signed) {
        let release = signed.release.clone();
        self.code_sha256 = Some(signed.code().to_owned());
        self.module = Some(release.module);
        self.gateway = Some(release.gateway);
        self.version = Some(release.version);
        self.commit = release.commit;
    }

    fn with_flaw(mut self, flaw: &Flaw) -> Self {
        self.problem(flaw.code(), flaw.to_string());
        self
    }

    /// Says that it is not trusted, and why.
    pub fn problem(&mut self, code: &'static str, message: String) {
        self.trusted = false;
        self.problems.push(Problem { code, message });
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.trusted { "trusted" } else { "REFUSED" };
        writeln!(f, "{}: {word} for {}", self.source, self.environment)?;
        for problem in &self.problems {
            writeln!(f, "  {}: {}", problem.code, problem.message)?;
        }
        if let (Some(module), Some(gateway), Some(version)) =
            (&self.module, self.gateway, &self.version)
        {
            write!(f, "  {module} {version} for {gateway}")?;
            if let Some(commit) = &self.commit {
                write!(f, ", commit {commit}")?;
            }
            writeln!(f)?;
        }
        writeln!(f, "  file sha256:{}", self.sha256)?;
        if let Some(code) = &self.code_sha256 {
            writeln!(f, "  code sha256:{code}, as a rebuild gives it")?;
        }
        if let Some(builder) = &self.provenance {
            writeln!(f, "  provenance by {builder}")?;
        }
        for it in &self.signatures {
            write!(
                f,
                "  {} by {} ({}) on {}, until {}",
                it.role,
                it.key,
                it.key_id,
                date(it.signed_at),
                date(it.expires_at)
            )?;
            if let Some(ticket) = &it.ticket {
                write!(f, ", ticket {ticket}")?;
            }
            match &it.not_counted {
                Some(why) => writeln!(f, ": NOT COUNTED, {why}")?,
                None => writeln!(f)?,
            }
        }
        Ok(())
    }
}

/// As in RFC 3339.
#[must_use]
pub fn date(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_else(|_| at.to_string())
}
