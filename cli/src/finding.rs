//! What is wrong with a file, and where.

use std::fmt;

use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It will not work as it stands, or not as it was meant.
    Error,
    /// It will work, and is likely not what was meant.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// One thing that is wrong. Never holds a secret.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    pub severity: Severity,
    /// The rule that it breaks: `upstream-unknown`.
    pub rule: &'static str,
    pub file: String,
    /// From 1, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The filter that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Where in the filter's configuration: `rules[2].match.prefix`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    pub message: String,
}

/// `kong.yml:12: error: auth: rules[2].match.prefix: must start with / [config]`
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}: ", self.severity)?;
        for part in [&self.filter, &self.path].into_iter().flatten() {
            write!(f, "{}: ", one_line(part))?;
        }
        write!(f, "{} [{}]", one_line(&self.message), self.rule)
    }
}

/// The same in one line: names in a file may hold anything.
fn one_line(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let escaped = c.is_control().then(|| c.escape_default());
            let plain = (!c.is_control()).then_some(c);
            escaped.into_iter().flatten().chain(plain)
        })
        .collect()
}

/// Collects what is wrong with one file.
#[derive(Debug)]
pub struct Findings {
    file: String,
    found: Vec<Finding>,
}

impl Findings {
    pub fn new(file: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            found: Vec::new(),
        }
    }

    pub fn error(&mut self, rule: &'static str, line: u64, message: impl fmt::Display) {
        self.add(Severity::Error, rule, line, message);
    }

    pub fn warning(&mut self, rule: &'static str, line: u64, message: impl fmt::Display) {
        self.add(Severity::Warning, rule, line, message);
    }

    fn add(
        &mut self,
        severity: Severity,
        rule: &'static str,
        line: u64,
        message: impl fmt::Display,
    ) {
        self.push(Finding {
            severity,
            rule,
            file: String::new(),
            line: (line > 0).then_some(line),
            filter: None,
            path: None,
            message: message.to_string(),
        });
    }

    /// Adds one of this file.
    pub fn push(&mut self, mut finding: Finding) {
        finding.file.clone_from(&self.file);
        self.found.push(finding);
    }

    /// Those so far; none are left.
    pub fn take(&mut self) -> Vec<Finding> {
        std::mem::take(&mut self.found)
    }

    /// All of them, by line.
    pub fn into_vec(mut self) -> Vec<Finding> {
        self.found.sort_by_key(|finding| finding.line);
        self.found
    }
}
