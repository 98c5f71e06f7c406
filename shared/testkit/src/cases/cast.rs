//! The keys, tokens and API keys that a case speaks of, and the placeholders that stand for them.

use std::cell::RefCell;
use std::collections::BTreeMap;

use policy::Time;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use wire::quota::Quota;

use super::file::{CaseFile, Change, QuotaSpec};
use crate::auth_service::ApiKey;
use crate::mint::{Alg, Key, unb64};
use crate::world::World;

/// Who plays in a case.
pub struct Cast<'a> {
    file: &'a CaseFile,
    /// Which of the RSA keys each one is. Keys are made when they are needed: that takes a while.
    rsa_numbers: BTreeMap<&'a str, usize>,
    api_keys: BTreeMap<String, ApiKey>,
    /// What configurations call the services.
    places: BTreeMap<String, String>,
    /// Tokens are made once for a case, so that a second use is a second use.
    minted: RefCell<BTreeMap<String, String>>,
    service_tokens: RefCell<Vec<String>>,
}

impl<'a> Cast<'a> {
    pub fn new(file: &'a CaseFile) -> Result<Self, String> {
        let mut rsa_numbers = BTreeMap::new();
        for (name, spec) in &file.keys {
            if spec.alg == Alg::RS256 && !spec.weak {
                if spec.d.is_some() {
                    return Err(format!("keys.{name}: RSA keys are not given by d"));
                }
                rsa_numbers.insert(name.as_str(), rsa_numbers.len());
            }
        }
        let api_keys = file
            .api_keys
            .iter()
            .map(|(name, spec)| {
                let made = ApiKey::new(name, &spec.account);
                let key = ApiKey {
                    key: spec.key.clone().unwrap_or(made.key),
                    id: spec.id.clone().unwrap_or(made.id),
                    account: spec.account.clone(),
                    tier: spec.tier.clone(),
                    tenant: spec.tenant.clone(),
                    active: spec.active,
                };
                (name.clone(), key)
            })
            .collect();
        Ok(Self {
            file,
            rsa_numbers,
            api_keys,
            places: BTreeMap::new(),
            minted: RefCell::default(),
            service_tokens: RefCell::default(),
        })
    }

    /// Makes the auth-service know its API keys.
    pub fn introduce(&self, world: &World) {
        for (name, key) in &self.api_keys {
            if self.file.api_keys[name].known {
                world.auth.add_api_key(key.clone());
            }
        }
    }

    pub fn set_places(&mut self, places: BTreeMap<String, String>) {
        self.places = places;
    }

    /// Carries out a change of the services.
    pub fn change(&self, world: &World, change: &Change, now: Time) -> Result<(), String> {
        if change.heal {
            world.auth.heal();
            world.limits.heal();
            world.lists.heal();
        }
        for (path, entries) in &change.jwks {
            let keys = entries
                .iter()
                .map(|entry| entry.render(|name| self.key(name)))
                .collect::<Result<Vec<_>, _>>()?;
            let document = serde_json::json!({ "keys": keys }).to_string();
            world.auth.publish_document(path, document);
        }
        for (path, document) in &change.documents {
            world.auth.publish_document(path, document);
        }
        for (endpoint, fault) in &change.fault {
            if endpoint.is_of_list_service() {
                world.lists.fail(*endpoint, fault.clone());
            } else if endpoint.is_of_redis_proxy() {
                world.limits.fail(*endpoint, fault.clone());
            } else {
                world.auth.fail(*endpoint, fault.clone());
            }
        }
        for (tenant, tier) in &change.tenants {
            world.limits.set_tier_of(tenant, tier);
        }
        for (tenant, spec) in &change.quota {
            world.limits.set_quota(tenant, Some(quota(spec, now)?));
        }
        for tenant in &change.unquota {
            world.limits.set_quota(tenant, None);
        }
        if change.lose_lists {
            world.lists.lose();
        }
        if let Some(changes) = change.page_changes {
            world.lists.set_page_changes(changes);
        }
        for (list, entries) in &change.list {
            for entry in entries {
                world.lists.add_text(*list, entry, now)?;
            }
        }
        for (list, entries) in &change.unlist {
            for entry in entries {
                world.lists.remove_text(*list, entry)?;
            }
        }
        for (names, active) in [(&change.revoke, false), (&change.activate, true)] {
            for name in names {
                let mut key = self.api_key(name)?.clone();
                key.active = active;
                world.auth.add_api_key(key);
            }
        }
        if let Some(tokens) = &change.service_tokens {
            world
                .auth
                .accept_service_tokens(tokens.iter().map(String::as_str));
            self.service_tokens.borrow_mut().extend(tokens.clone());
        }
        if let Some(answer) = &change.upstream {
            world.upstream.answer(answer.status, &answer.headers);
        }
        Ok(())
    }

    /// Replaces placeholders: `${token.NAME}`, `${key.NAME}`, `${n}`, `${a*100}` for a hundred
    /// `a`s, and the services' names.
    pub fn expand(&self, text: &str, n: usize, now: Time) -> Result<String, String> {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let (name, after) = after
                .split_once('}')
                .ok_or_else(|| format!("{text:?}: ${{ without }}"))?;
            out.push_str(before);
            out.push_str(&self.placeholder(name, n, now)?);
            rest = after;
        }
        out.push_str(rest);
        Ok(out)
    }

    fn placeholder(&self, name: &str, n: usize, now: Time) -> Result<String, String> {
        if name == "n" {
            return Ok(n.to_string());
        }
        if let Some(token) = name.strip_prefix("token.") {
            return self.token(token, n, now);
        }
        if let Some(key) = name.strip_prefix("key.") {
            return Ok(self.api_key(key)?.key.clone());
        }
        if let Some((what, times)) = name.rsplit_once('*')
            && let Ok(times) = times.parse()
        {
            return Ok(what.repeat(times));
        }
        self.places.get(name).cloned().ok_or_else(|| {
            let known: Vec<&String> = self.places.keys().collect();
            format!("there is no placeholder ${{{name}}}; services are {known:?}")
        })
    }

    /// The token of this name, the same for the same `n`; a token without `${n}` is always the
    /// same.
    pub fn token(&self, name: &str, n: usize, now: Time) -> Result<String, String> {
        let recipe = self
            .file
            .tokens
            .get(name)
            .ok_or_else(|| format!("there is no token {name:?}"))?;
        let counts = format!("{recipe:?}").contains("${n}");
        let id = if counts {
            format!("{name} {n}")
        } else {
            name.to_owned()
        };
        if let Some(minted) = self.minted.borrow().get(&id) {
            return Ok(minted.clone());
        }
        let expand = |text: &str| match text.contains("${token.") {
            true => Err("a token cannot hold another one".to_owned()),
            false => self.expand(text, n, now),
        };
        let token = recipe
            .mint(now, |key| self.key(key), expand)
            .map_err(|e| format!("tokens.{name}: {e}"))?;
        self.minted.borrow_mut().insert(id, token.clone());
        Ok(token)
    }

    fn key(&self, name: &str) -> Option<Key> {
        let spec = self.file.keys.get(name)?;
        let kid = spec.kid.as_deref().unwrap_or(name);
        Some(match (spec.alg, &spec.d) {
            (Alg::RS256, _) if spec.weak => Key::weak_rsa(kid),
            (Alg::RS256, _) => Key::rsa(kid, *self.rsa_numbers.get(name)?),
            (Alg::ES256, Some(d)) => Key::p256_from(kid, &unb64(d)),
            (Alg::ES256, None) => Key::p256(kid, name),
            (Alg::EdDSA, Some(d)) => Key::ed25519_from(kid, &unb64(d)),
            (Alg::EdDSA, None) => Key::ed25519(kid, name),
        })
    }

    pub fn api_key(&self, name: &str) -> Result<&ApiKey, String> {
        self.api_keys
            .get(name)
            .ok_or_else(|| format!("there is no API key {name:?}"))
    }

    /// Replaces placeholders in every string of a JSON value.
    pub fn expand_json(&self, value: &Value, now: Time) -> Result<Value, String> {
        Ok(match value {
            Value::String(text) => Value::String(self.expand(text, 0, now)?),
            Value::Array(items) => Value::Array(
                items
                    .iter()
                    .map(|item| self.expand_json(item, now))
                    .collect::<Result<_, _>>()?,
            ),
            Value::Object(members) => Value::Object(
                members
                    .iter()
                    .map(|(name, value)| Ok((name.clone(), self.expand_json(value, now)?)))
                    .collect::<Result<_, String>>()?,
            ),
            other => other.clone(),
        })
    }

    /// What must never be in a log: tokens, their signatures, service tokens.
    pub fn credentials(&self) -> Vec<String> {
        const WORTH_HIDING: usize = 16;
        let minted = self.minted.borrow();
        let signatures = minted
            .values()
            .filter_map(|token| token.rsplit_once('.').map(|(_, last)| last.to_owned()));
        minted
            .values()
            .cloned()
            .chain(signatures)
            .chain(self.service_tokens.borrow().iter().cloned())
            .chain(self.raw_api_keys())
            .filter(|secret| secret.len() >= WORTH_HIDING)
            .collect()
    }

    /// The API keys as clients present them: no service may see one.
    pub fn raw_api_keys(&self) -> Vec<String> {
        self.api_keys.values().map(|key| key.key.clone()).collect()
    }
}

fn quota(spec: &QuotaSpec, now: Time) -> Result<Quota, String> {
    // The start of 2100.
    let mut reset_at_ms = 4_102_444_800_000;
    let now_ms = now.as_nanos() / 1_000_000;
    if let Some(span) = spec.resets_in {
        reset_at_ms = now_ms + u64::try_from(span.0.as_millis()).map_err(|e| e.to_string())?;
    }
    let reset_at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(reset_at_ms) * 1_000_000)
        .map_err(|e| e.to_string())?;
    Ok(Quota {
        limit: spec.limit,
        used: spec.used,
        period: "monthly".to_owned(),
        reset_at: reset_at.format(&Rfc3339).map_err(|e| e.to_string())?,
        reset_at_ms,
        last_updated_ms: now_ms,
    })
}

/// `\xff` becomes a byte, `\\` a backslash; the rest stays as it is.
pub fn bytes(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first != b'\\' {
            out.push(*first);
            rest = after;
            continue;
        }
        match after {
            [b'\\', after @ ..] => {
                out.push(b'\\');
                rest = after;
            }
            [b'x', high, low, after @ ..] => {
                let digits = [*high, *low];
                let byte = std::str::from_utf8(&digits)
                    .ok()
                    .and_then(|digits| u8::from_str_radix(digits, 16).ok())
                    .ok_or_else(|| format!("{text:?}: \\x wants two hexadecimal digits"))?;
                out.push(byte);
                rest = after;
            }
            _ => return Err(format!("{text:?}: write \\xHH or \\\\")),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_bytes() {
        assert_eq!(bytes(r"a\xff\x00\\é").unwrap(), b"a\xff\x00\\\xc3\xa9");
        for bad in [r"\", r"\n", r"\xf", r"\xzz"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn placeholders_are_replaced_or_refused() {
        let file = CaseFile::parse(
            "[keys.k]\nalg = 'ES256'\n[tokens.t]\nkey = 'k'\nheader = { kid = 'k-${n}' }\n\
             [api_keys.a]\naccount = 'acc'\n",
        )
        .unwrap();
        let mut cast = Cast::new(&file).unwrap();
        cast.set_places([("auth_service".to_owned(), "cluster_1".to_owned())].into());
        let now = Time::from_secs(1_800_000_000);
        let expand = |text: &str| cast.expand(text, 7, now);
        assert_eq!(
            expand("<${n}|${auth_service}|${ab*3}>").unwrap(),
            "<7|cluster_1|ababab>"
        );
        assert!(expand("${key.a}").unwrap().starts_with("gk_test_"));
        for bad in ["${", "${nobody}", "${token.x}", "${key.x}"] {
            assert!(expand(bad).is_err(), "{bad}");
        }
        let token = |n| cast.token("t", n, now).unwrap();
        assert_eq!(token(1), token(1));
        assert_ne!(token(1), token(2));
        assert!(cast.credentials().contains(&token(1)));
    }
}
