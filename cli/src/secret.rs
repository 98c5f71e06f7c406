//! What is known for a secret: by the name that it stands under, or by its shape.

/// Parts of names whose values are secrets.
const SECRET_NAMES: [&str; 11] = [
    "password",
    "passwd",
    "secret",
    "token",
    "private_key",
    "api_key",
    "apikey",
    "access_key",
    "credential",
    "passphrase",
    "client_key",
];
/// Names that look like one of these and hold something else.
const NO_SECRETS: [&str; 15] = [
    "api_key_header",
    "api_keys",
    "token_cache",
    "token_from",
    "max_token_bytes",
    "token_endpoint",
    "token_url",
    "token_type",
    "secret_is_base64",
    "forward_credential",
    "hide_credentials",
    "forward_credentials",
    "key_names",
    "token_header",
    "credential_claim",
];

/// Whether what stands under a name is a secret.
pub fn is_named_one(name: &str) -> bool {
    let lower = name.to_ascii_lowercase().replace('-', "_");
    SECRET_NAMES.iter().any(|part| lower.contains(part)) && !NO_SECRETS.contains(&lower.as_str())
}

/// Whether this text under this name is a secret, and no reference to one.
pub fn is_one(name: &str, text: &str) -> bool {
    (is_named_one(name) && !text.is_empty() && !is_reference(text)) || is_shaped_like_one(text)
}

/// A reference to a vault of Kong, or what decK or a template puts in.
fn is_reference(text: &str) -> bool {
    text.starts_with("{vault://") || text.starts_with("${") || text.starts_with("{{")
}

/// Whether it looks like a secret by itself.
pub fn is_shaped_like_one(text: &str) -> bool {
    let words = |from: &str, least: usize| {
        text.match_indices(from).any(|(at, _)| {
            let rest = text
                .get(at.saturating_add(from.len())..)
                .unwrap_or_default();
            let length = rest
                .bytes()
                .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
                .count();
            length >= least
        })
    };
    let in_url = text.split_once("://").is_some_and(|(_, rest)| {
        let authority = rest.split('/').next().unwrap_or_default();
        authority
            .rsplit_once('@')
            .and_then(|(user, _)| user.split_once(':'))
            .is_some_and(|(_, password)| !password.is_empty() && !is_reference(password))
    });
    let token = text.starts_with("eyJ") && text.split('.').count() == 3 && text.len() > 40;
    text.contains("PRIVATE KEY-----")
        || words("AKIA", 16)
        || words("gk_live_", 20)
        || words("gk_test_", 20)
        || words("ghp_", 30)
        || words("xoxb-", 20)
        || words("sk_live_", 20)
        || token
        || in_url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_their_shape() {
        for text in [
            "-----BEGIN RSA PRIVATE KEY-----\nMII",
            "AKIAIOSFODNN7EXAMPLE",
            "redis://user:hunter2@redis:6379/0",
            "Bearer gk_live_0123456789abcdef0123",
            "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJ4In0.c2lnbmF0dXJlLXZhbHVl",
        ] {
            assert!(is_shaped_like_one(text), "{text}");
        }
        for text in [
            "redis://redis:6379",
            "https://auth.example.com/token",
            "gk_live_",
            "a@b.example",
            "redis://user:${PASSWORD}@redis",
        ] {
            assert!(!is_shaped_like_one(text), "{text}");
        }
    }
}
