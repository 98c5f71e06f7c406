//! The classes of rules: what becomes of a request when its limit cannot be known.

use serde_json::{Value, json};
use wire::limits::Limit;

/// Tokens per second of the limits. None of them has a burst.
pub const RATE: u64 = 100;
/// The local share of one worker, percent.
pub const LOCAL_SHARE: u64 = 10;

/// A rule of its own, with counts of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Deny,
    Allow,
    Local,
    /// No failure mode given: what may write is refused, what reads passes.
    Unset,
    /// Five a minute, refused when unknown: to see whether limits hold.
    Login,
}

impl Class {
    pub const PROBED: [Self; 4] = [Self::Deny, Self::Allow, Self::Local, Self::Unset];

    pub const fn word(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Allow => "allow",
            Self::Local => "local",
            Self::Unset => "unset",
            Self::Login => "login",
        }
    }

    pub fn path(self) -> String {
        format!("/{}", self.word())
    }

    /// The dimension as the store knows it.
    pub fn dim(self) -> String {
        format!("tenant-{}", self.word())
    }

    /// The window as the store knows it.
    pub const fn window(self) -> &'static str {
        match self {
            Self::Login => "60s",
            _ => "1s",
        }
    }

    pub const fn limit(self) -> Limit {
        match self {
            Self::Login => Limit::window(5, 60_000),
            _ => Limit::without_burst(RATE, 1_000),
        }
    }

    fn rule(self) -> Value {
        let mut limit = json!({"dimension": "tenant", "scope": self.word()});
        if self == Self::Login {
            limit["limit"] = json!("5/min");
        } else {
            limit["limit"] = json!(format!("{RATE}/s"));
            limit["burst"] = json!("none");
        }
        let mut rule = json!({"match": {"path": self.path()}, "limits": [limit]});
        match self {
            Self::Deny | Self::Login => rule["on_failure"] = json!("deny"),
            Self::Allow => rule["on_failure"] = json!("allow"),
            Self::Local => {
                rule["on_failure"] = json!("local");
                rule["local_share"] = json!(LOCAL_SHARE);
            }
            Self::Unset => {}
        }
        rule
    }
}

pub fn rules() -> Value {
    let all = [
        Class::Deny,
        Class::Allow,
        Class::Local,
        Class::Unset,
        Class::Login,
    ];
    Value::Array(all.map(Class::rule).to_vec())
}

/// The same, but all that is refused passes.
pub fn rules_in_shadow() -> Value {
    let mut rules = rules();
    for rule in rules.as_array_mut().into_iter().flatten() {
        rule["shadow"] = json!(true);
    }
    rules
}
