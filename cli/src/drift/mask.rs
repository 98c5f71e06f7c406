//! What is shown of a value: never a secret.

use serde_json::{Map, Value};

use crate::secret;

/// In place of a secret.
pub const HIDDEN: &str = "(hidden)";

/// Headers whose values are credentials.
const CREDENTIALS: [&str; 6] = [
    "authorization",
    "cookie",
    "proxy-authorization",
    "x-api-key",
    "kong-admin-token",
    "x-service-token",
];
/// Kinds of entities whose `key` is a secret.
const WITH_KEYS: [&str; 5] = [
    "certificates",
    "keyauth_credentials",
    "keyauth_enc_credentials",
    "keys",
    "jwt_secrets",
];
/// What is under the name of a secret, and only says where it is.
const WHERE: [&str; 4] = [
    "filename",
    "environment_variable",
    "watched_directory",
    "sds_config",
];

/// The value at this path, without what is secret.
pub fn masked(path: &[String], value: &Value) -> Value {
    let under = path.iter().any(|name| secret::is_named_one(name))
        && !path.iter().any(|name| WHERE.contains(&name.as_str()));
    let name = path.last().map(String::as_str).unwrap_or_default();
    let of_kind = path
        .first()
        .is_some_and(|kind| WITH_KEYS.contains(&kind.as_str()));
    mask(name, value, under || (of_kind && name == "key"), of_kind)
}

fn mask(name: &str, value: &Value, secret: bool, of_kind: bool) -> Value {
    match value {
        Value::String(text) if !text.is_empty() && (secret || secret::is_one(name, text)) => {
            HIDDEN.into()
        }
        Value::Number(_) if secret => HIDDEN.into(),
        Value::Array(items) => items
            .iter()
            .map(|item| mask(name, item, secret, of_kind))
            .collect(),
        Value::Object(members) => of_object(members, secret, of_kind).into(),
        other => other.clone(),
    }
}

/// Whether an object's `value` is a credential: `{ key: authorization, value: Bearer … }`.
pub fn names_credential(members: &Map<String, Value>) -> bool {
    ["key", "name", "header_name"].iter().any(|field| {
        let named = members.get(*field).and_then(Value::as_str);
        named.is_some_and(|named| {
            CREDENTIALS.contains(&named.to_ascii_lowercase().as_str())
                || secret::is_named_one(named)
        })
    })
}

fn of_object(members: &Map<String, Value>, secret: bool, of_kind: bool) -> Map<String, Value> {
    let names_one = names_credential(members);
    members
        .iter()
        .map(|(name, member)| {
            let hides = !WHERE.contains(&name.as_str())
                && (secret
                    || secret::is_named_one(name)
                    || CREDENTIALS.contains(&name.to_ascii_lowercase().as_str())
                    || (of_kind && name == "key")
                    || (names_one && name == "value"));
            (name.clone(), mask(name, member, hides, of_kind))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_hidden_wherever_they_are() {
        let at = |path: &[&str]| path.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        for (path, value) in [
            (
                at(&["clusters", "private_key", "inline_string"]),
                json!("s3cr3t"),
            ),
            (
                at(&["plugins", "x", "config"]),
                json!({"client_secret": "s3cr3t", "a": [{"password": "s3cr3t"}]}),
            ),
            (
                at(&["keyauth_credentials", "x"]),
                json!({"key": "s3cr3t", "consumer": "a"}),
            ),
            (at(&["keyauth_credentials", "x", "key"]), json!("s3cr3t")),
            (
                at(&["listeners", "x"]),
                json!({"header": {"key": "Authorization", "value": "s3cr3t"}}),
            ),
            (
                at(&["x"]),
                json!({"private_key": {"inline_string": "s3cr3t"}}),
            ),
            (at(&["x", "service_token"]), json!("s3cr3t")),
            (at(&["x"]), json!("redis://user:s3cr3t@redis:6379")),
        ] {
            let shown = masked(&path, &value).to_string();
            assert!(!shown.contains("s3cr3t"), "{path:?}: {shown}");
            assert!(shown.contains(HIDDEN), "{path:?}: {shown}");
        }
        let place =
            json!({"private_key": {"filename": "/etc/envoy/tls.key"}, "timeout": "5s", "n": 1});
        assert_eq!(masked(&at(&["x"]), &place), place);
    }
}
