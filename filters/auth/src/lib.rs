//! Who is it? JSON Web Tokens and API keys, checked at the gate.
//!
//! A request passes if the first rule that matches it is public, or if it carries a credential that
//! the rule accepts. The order of events: spoofed identity headers are removed, the rule is found,
//! the credential is found, remembered verdicts are looked up, and only then is anything computed or
//! asked. See `README.md` for the options and the codes of all refusals.

#![cfg_attr(test, allow(clippy::arithmetic_side_effects, clippy::string_slice))]

mod api_key;
mod config;
mod credential;
mod failures;
mod identity;
pub mod jwks;
pub mod jwt;
mod keeper;
mod key_source;
mod metric;
mod refusal;
mod rule;
pub mod signature;
mod verified;

use std::borrow::Cow;
use std::rc::Rc;

use policy::client_ip::client_ip;
use policy::path::canonical;
use policy::{Answer, CalloutError, Cx, Event, Fault, Phases, Policy, Time, Verdict};

pub use config::{Config, Raw};
pub use keeper::AuthKeeper;
pub use metric::AuthMetric;

use crate::api_key::{KeyHash, Known, Stored};
use crate::config::Provider;
use crate::identity::Identity;
use crate::jwt::{Token, TokenError};
use crate::key_source::Missing;
use crate::refusal::Refusal;
use crate::rule::{Method, Rule};
use crate::verified::TokenKey;

/// The filter: one value per request.
#[derive(Debug)]
pub struct Auth {
    waits_for: Option<WaitsFor>,
    /// The gateway cannot hold a request without a callout of its own.
    must_ask: bool,
    /// What this request has asked for itself. It asks for nothing twice, unless a revocation made the answer stale.
    asked: Vec<Asked>,
    /// The number of its question about an API key.
    question: u64,
    /// That answer was stale once.
    stale: bool,
}

/// Why the request is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WaitsFor {
    /// Its own callout.
    Own(Asked),
    /// Somebody else's.
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Keys { provider: usize },
    ApiKey(KeyHash),
}

/// Where a request stands: decided, or not yet.
enum Step {
    Pass,
    Refuse(Refusal),
    Hold(Verdict),
}

/// The end of a step that did not succeed.
enum Stop {
    Refuse(Refusal),
    Hold(Box<Verdict>),
    Fault(Fault),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refuse(refusal)
    }
}

impl From<TokenError> for Stop {
    fn from(error: TokenError) -> Self {
        Self::Refuse(Refusal::Token(error))
    }
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// A credential of the request, of a kind that its rule accepts.
enum Credential<'a> {
    Token(Cow<'a, str>, Vec<usize>),
    ApiKey(Cow<'a, str>),
}

impl Policy for Auth {
    const NAME: &'static str = "auth";
    const PHASES: Phases = Phases::CALLOUTS.with(Phases::TICK);
    type Config = Config;
    type Keeper = AuthKeeper;
    type Metric = AuthMetric;
    const WAITS: bool = true;
    const CODES: &'static [&'static str] = refusal::CODES;

    fn new() -> Self {
        Self {
            waits_for: None,
            must_ask: false,
            asked: Vec::new(),
            question: 0,
            stale: false,
        }
    }

    fn series(config: &Config) -> Vec<AuthMetric> {
        AuthMetric::all(config.providers.iter().map(|provider| &provider.name))
    }

    fn on_request(&mut self, event: Event<'_>, cx: &mut Cx<'_, Self>) -> Result<Verdict, Fault> {
        if cx.now == Time::EPOCH {
            return Err(Fault::Gateway("the time"));
        }
        match event {
            Event::Headers => identity::remove_spoofs(cx.request, cx.config, cx.effects),
            Event::Answer(answer) => self.take(answer, cx),
            Event::Woke => self.waits_for = None,
            Event::Body(_) => return Err(Fault::Unexpected("a body")),
        }
        self.decide(cx)
    }

    fn on_done(&mut self, cx: &mut Cx<'_, Self>) {
        let Some(WaitsFor::Own(asked)) = self.waits_for else {
            return;
        };
        // Its client hung up. Those who wait for its callout have to ask for themselves.
        match asked {
            Asked::Keys { provider } => {
                if let Some(source) = cx.keeper.sources.get_mut(provider) {
                    source.abandon();
                }
            }
            Asked::ApiKey(key) => {
                if let Some(api_keys) = &mut cx.keeper.api_keys {
                    api_keys.abandon(&key);
                }
            }
        }
        cx.effects.wake = true;
    }
}

impl Auth {
    /// Hands the end of a callout to the keeper.
    fn take(&mut self, answer: Result<Answer<'_>, CalloutError>, cx: &mut Cx<'_, Self>) {
        match self.waits_for.take() {
            Some(WaitsFor::Own(Asked::Keys { provider: index })) => {
                if let (Some(source), Some(provider)) = (
                    cx.keeper.sources.get_mut(index),
                    cx.config.providers.get(index),
                ) {
                    source.store(answer, provider, cx.now, cx.effects);
                }
            }
            Some(WaitsFor::Own(Asked::ApiKey(key))) => {
                if let (Some(api_keys), Some(config)) =
                    (&mut cx.keeper.api_keys, &cx.config.api_keys)
                {
                    let question = (key, self.question);
                    let stored = api_keys.store(question, answer, config, cx.now, cx.effects);
                    if stored == Stored::Stale && !self.stale {
                        self.stale = true;
                        self.asked.retain(|asked| *asked != Asked::ApiKey(key));
                    }
                }
            }
            // The gateway cannot hold the request for somebody else's callout.
            Some(WaitsFor::Other) => self.must_ask = true,
            None => {}
        }
    }

    /// Decides from the start, on what is known by now. Has no effect until it is final.
    fn decide(&mut self, cx: &mut Cx<'_, Self>) -> Result<Verdict, Fault> {
        let path = match cx.request.path_and_query().map(canonical) {
            Some(Ok(path)) => path,
            _ => return Ok(Verdict::Deny(Refusal::Path.reply(""))),
        };
        let Some((index, rule)) = rule::find(cx, &path) else {
            return Ok(Verdict::Deny(Refusal::NoRule.reply("Bearer")));
        };
        let step = if rule.public {
            Step::Pass
        } else {
            match self.authenticate(index, rule, cx) {
                Ok(()) => Step::Pass,
                Err(Stop::Refuse(refusal)) => Step::Refuse(refusal),
                Err(Stop::Hold(verdict)) => Step::Hold(*verdict),
                Err(Stop::Fault(fault)) => return Err(fault),
            }
        };
        Ok(match step {
            Step::Pass => {
                hide_credentials(rule, cx);
                Verdict::Allow
            }
            Step::Refuse(refusal) => {
                if refusal.is_failed_attempt() {
                    note_failure(cx)?;
                }
                Verdict::Deny(refusal.reply(scheme(rule)))
            }
            Step::Hold(verdict) => verdict,
        })
    }

    fn authenticate(
        &mut self,
        index: usize,
        rule: &Rule,
        cx: &mut Cx<'_, Self>,
    ) -> Result<(), Stop> {
        match find_credential(rule, cx)? {
            Credential::Token(token, providers) => {
                let identity = self.token_identity(&token, &providers, cx)?;
                if !identity.meets.contains(index) {
                    return Err(Refusal::Claims.into());
                }
                identity::inject(&identity.headers, cx.effects);
            }
            Credential::ApiKey(key) => self.api_key_identity(&key, cx)?,
        }
        Ok(())
    }

    /// Whose token it is: remembered, or verified now with the first provider that accepts it.
    fn token_identity(
        &mut self,
        raw: &str,
        providers: &[usize],
        cx: &mut Cx<'_, Self>,
    ) -> Result<Rc<Identity>, Stop> {
        let hash = verified::hash(raw);
        for &index in providers {
            if let Some(source) = cx.keeper.sources.get(index)
                && let Some(identity) = cx.keeper.tokens.get(&(hash, index), source, cx.now)
            {
                cx.effects.count(AuthMetric::TokenCache { hit: true });
                return Ok(identity);
            }
        }
        refuse_guessers(cx)?;
        let mut first_stop = None;
        for &index in providers {
            match self.verify(raw, (hash, index), cx) {
                Ok(identity) => return Ok(identity),
                Err(Stop::Refuse(refusal)) => {
                    // Of several refusals the most telling counts: not that a key is unknown to
                    // one provider while another one knows it.
                    let telling = !matches!(refusal, Refusal::Token(TokenError::KeyUnknown));
                    if first_stop.is_none() || telling {
                        first_stop = Some(refusal);
                    }
                }
                Err(stop) => return Err(stop),
            }
        }
        Err(first_stop.unwrap_or(Refusal::Missing).into())
    }

    fn verify(
        &mut self,
        raw: &str,
        remembered_as: TokenKey,
        cx: &mut Cx<'_, Self>,
    ) -> Result<Rc<Identity>, Stop> {
        let (_, index) = remembered_as;
        let config = cx.config;
        let Some(provider) = config.providers.get(index) else {
            return Err(Fault::Unexpected("a provider that is not configured").into());
        };
        let token = Token::parse(raw, provider.max_token_bytes).map_err(TokenError::from)?;
        // What no key could make good needs no keys.
        token.algorithm(&provider.algorithms)?;
        self.await_key(&token, index, provider, cx)?;
        let Some(source) = cx.keeper.sources.get(index) else {
            return Err(Fault::Unexpected("a provider without a key source").into());
        };
        let Some(keys) = source.keys(cx.now) else {
            return Err(Refusal::JwksUnavailable.into());
        };
        let key = token.key(keys, &provider.algorithms)?;
        let verified = token.verify(key, cx.host, config.host_crypto);
        cx.effects.count(AuthMetric::TokenCache { hit: false });
        cx.effects.count(AuthMetric::SignatureChecks {
            provider: provider.name.clone(),
            valid: !matches!(verified, Err(TokenError::SignatureInvalid)),
        });
        let claims = verified?;
        let until = claims
            .validate(&provider.expected, cx.now)
            .map_err(TokenError::from)?;
        let identity =
            Identity::of(&claims, provider, &config.rules).map_err(|_| Refusal::NotInjectable)?;
        let identity = Rc::new(identity);
        cx.keeper.tokens.put(
            remembered_as,
            Rc::clone(&identity),
            key.id(),
            source,
            cx.now,
            until,
        );
        Ok(identity)
    }

    /// Makes sure that the token's key is here, or that it is certain that it cannot be had.
    fn await_key(
        &mut self,
        token: &Token<'_>,
        index: usize,
        provider: &Provider,
        cx: &mut Cx<'_, Self>,
    ) -> Result<(), Stop> {
        let now = cx.now;
        let asked = Asked::Keys { provider: index };
        let Some(source) = cx.keeper.sources.get_mut(index) else {
            return Err(Fault::Unexpected("a provider without a key source").into());
        };
        let missing = match source.keys(now) {
            None => source.without_keys(now),
            Some(keys) => match token.key(keys, &provider.algorithms) {
                Err(TokenError::KeyUnknown) => source.without_key(&provider.jwks, now),
                _ => return Ok(()),
            },
        };
        match missing {
            Missing::Wait(until) if !self.must_ask => {
                self.waits_for = Some(WaitsFor::Other);
                Err(Stop::Hold(Box::new(Verdict::Await { until })))
            }
            Missing::Fetch | Missing::Wait(_) if !self.asked.contains(&asked) => {
                let callout = source.fetch(&provider.jwks, now);
                Err(self.ask(asked, callout))
            }
            Missing::Unknown => Err(TokenError::KeyUnknown.into()),
            _ => Err(Refusal::JwksUnavailable.into()),
        }
    }

    fn api_key_identity(&mut self, key: &str, cx: &mut Cx<'_, Self>) -> Result<(), Stop> {
        let config = cx.config;
        let (Some(config), Some(memory)) = (&config.api_keys, &mut cx.keeper.api_keys) else {
            return Err(Fault::Unexpected("an API key where none are configured").into());
        };
        let Some(hash) = api_key::hash(key, &config.prefixes) else {
            refuse_guessers(cx)?;
            return Err(Refusal::KeyMalformed.into());
        };
        let asked = Asked::ApiKey(hash);
        if let Some(known) = memory.get(&hash, cx.now) {
            let first_look = !self.asked.contains(&asked);
            if first_look {
                cx.effects.count(AuthMetric::KeyCache { hit: true });
            }
            return match known {
                Known::Active(headers) => {
                    identity::inject(&headers, cx.effects);
                    Ok(())
                }
                Known::Invalid => {
                    refuse_guessers(cx)?;
                    Err(Refusal::KeyInvalid.into())
                }
                Known::Failed => Err(Refusal::KeyLookupFailed.into()),
            };
        }
        if self.asked.contains(&asked) {
            // It was answered and is already forgotten: the clock runs wild, the cache is tiny, or the key is being
            // revoked again and again.
            return Err(Refusal::KeyLookupFailed.into());
        }
        if let Some(until) = memory.flight(&hash, cx.now)
            && !self.must_ask
        {
            self.waits_for = Some(WaitsFor::Other);
            return Err(Stop::Hold(Box::new(Verdict::Await { until })));
        }
        refuse_guessers(cx)?;
        cx.effects.count(AuthMetric::KeyCache { hit: false });
        let Some(memory) = &mut cx.keeper.api_keys else {
            return Err(Fault::Unexpected("an API key where none are configured").into());
        };
        match memory.ask(hash, config, cx.now) {
            Some((callout, question)) => {
                self.question = question;
                Err(self.ask(asked, callout))
            }
            None => Err(Fault::Unexpected("a question that cannot be written").into()),
        }
    }

    fn ask(&mut self, asked: Asked, callout: policy::Callout) -> Stop {
        self.waits_for = Some(WaitsFor::Own(asked));
        self.asked.push(asked);
        Stop::Hold(Box::new(Verdict::Call(callout)))
    }
}

/// The credential that decides: that of the first method whose kind is presented. Tokens of several
/// providers are found together, since nothing but a key tells whose a token is.
fn find_credential<'a>(rule: &'a Rule, cx: &Cx<'a, Auth>) -> Result<Credential<'a>, Refusal> {
    for method in &rule.methods {
        match method {
            Method::ApiKey => {
                let Some(config) = &cx.config.api_keys else {
                    continue;
                };
                if let Some(key) = credential::find_header(cx.request, &config.header)
                    .map_err(|_| Refusal::Conflict)?
                {
                    return Ok(Credential::ApiKey(key));
                }
            }
            Method::Jwt(_) => {
                let mut found: Option<(Cow<'a, str>, Vec<usize>)> = None;
                for (index, provider) in token_providers(rule, cx.config) {
                    let token = credential::find_token(cx.request, &provider.sources)
                        .map_err(|_| Refusal::Conflict)?;
                    match (&mut found, token) {
                        (_, None) => {}
                        (None, Some(token)) => found = Some((token, vec![index])),
                        (Some((first, indexes)), Some(token)) if *first == token => {
                            indexes.push(index)
                        }
                        (Some(_), Some(_)) => return Err(Refusal::Conflict),
                    }
                }
                if let Some((token, indexes)) = found {
                    return Ok(Credential::Token(token, indexes));
                }
            }
        }
    }
    Err(Refusal::Missing)
}

fn token_providers<'a>(
    rule: &'a Rule,
    config: &'a Config,
) -> impl Iterator<Item = (usize, &'a Provider)> {
    rule.methods.iter().filter_map(|method| match method {
        Method::Jwt(index) => Some((*index, config.providers.get(*index)?)),
        Method::ApiKey => None,
    })
}

/// Takes credentials out of what the upstream sees: an API key always (A6), a token unless the rule
/// forwards it (J16). A public rule leaves tokens alone, which it has not looked at.
fn hide_credentials(rule: &Rule, cx: &mut Cx<'_, Auth>) {
    if let Some(api_keys) = &cx.config.api_keys
        && cx.request.first(&api_keys.header).is_some()
    {
        cx.effects.remove_header(&api_keys.header);
    }
    if !rule.forward_credential {
        for (_, provider) in token_providers(rule, cx.config) {
            credential::strip(cx.request, &provider.sources, cx.effects);
        }
    }
}

/// The authentication scheme that a 401 asks for.
fn scheme(rule: &Rule) -> &'static str {
    let wants_token = rule
        .methods
        .iter()
        .any(|method| matches!(method, Method::Jwt(_)));
    if wants_token { "Bearer" } else { "ApiKey" }
}

/// Refuses an address that has failed too often. Called only before something that costs, or that a
/// guesser could learn from: what was verified before passes from anywhere.
fn refuse_guessers(cx: &mut Cx<'_, Auth>) -> Result<(), Stop> {
    let config = cx.config;
    if let (Some(config), Some(_)) = (&config.failures, &cx.keeper.failures) {
        let address = client_address(cx)?;
        if let Some(failures) = &mut cx.keeper.failures
            && let Some(retry_after) = failures.refused_for(address, config, cx.now)
        {
            return Err(Refusal::TooManyFailures { retry_after }.into());
        }
    }
    Ok(())
}

fn note_failure(cx: &mut Cx<'_, Auth>) -> Result<(), Fault> {
    let config = cx.config;
    if let Some(config) = &config.failures {
        let address = client_address(cx)?;
        if let Some(failures) = &mut cx.keeper.failures {
            failures.note(address, config, cx.now);
        }
    }
    Ok(())
}

fn client_address(cx: &Cx<'_, Auth>) -> Result<std::net::IpAddr, Fault> {
    let peer = cx
        .host
        .peer()
        .ok_or(Fault::Gateway("the address of the peer"))?;
    Ok(client_ip(peer, cx.request, &cx.config.trusted_proxies))
}

#[cfg(all(target_arch = "wasm32", target_os = "wasi", feature = "module"))]
host::main!(Auth, callouts, tick);
