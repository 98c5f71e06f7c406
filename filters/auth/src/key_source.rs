//! The public keys of one provider: fetched, served until they expire, fetched anew when a token
//! names a key that is not among them.

use std::time::Duration;

use policy::{Answer, Callout, CalloutError, Effects, Level, Time};

use crate::config::{Jwks, Provider};
use crate::jwks::{KeySet, MAX_BYTES};
use crate::metric::AuthMetric;

/// After a failed fetch, the least time until the next.
const BACKOFF: Duration = Duration::from_secs(1);

/// What is known of a provider's keys.
#[derive(Debug, Default)]
pub(crate) struct KeySource {
    keys: Option<(KeySet, Time)>,
    /// Counts the sets that were stored.
    generation: u64,
    attempt: Option<Attempt>,
    /// A fetch is under way; nobody waits for it longer than until then.
    flight: Option<Time>,
}

/// The last fetch that ended.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    at: Time,
    ok: bool,
}

impl Attempt {
    /// Whether it ended less than this time ago. One in the future did not: the clock stepped back.
    fn is_within(self, time: Duration, now: Time) -> bool {
        now >= self.at && now < self.at.plus(time)
    }
}

/// What to do about keys that are not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Fetch them.
    Fetch,
    /// Somebody does; wait at most until then.
    Wait(Time),
    /// They cannot be had now.
    Unavailable,
    /// They were looked for a moment ago, and are not there.
    Unknown,
}

impl KeySource {
    /// The keys, unless they have expired.
    pub fn keys(&self, now: Time) -> Option<&KeySet> {
        let (keys, expires) = self.keys.as_ref()?;
        (now < *expires).then_some(keys)
    }

    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// A token is to be checked and there are no keys at all.
    pub fn without_keys(&self, now: Time) -> Missing {
        match (self.flight(now), self.attempt) {
            (Some(until), _) => Missing::Wait(until),
            (None, Some(attempt)) if !attempt.ok && attempt.is_within(BACKOFF, now) => {
                Missing::Unavailable
            }
            _ => Missing::Fetch,
        }
    }

    /// A token names a key that is not among the keys (J10: one fetch per cooldown, whoever asks).
    pub fn without_key(&self, jwks: &Jwks, now: Time) -> Missing {
        match (self.flight(now), self.attempt) {
            (Some(until), _) => Missing::Wait(until),
            (None, Some(attempt)) if attempt.is_within(jwks.refetch_cooldown, now) => {
                if attempt.ok {
                    Missing::Unknown
                } else {
                    Missing::Unavailable
                }
            }
            _ => Missing::Fetch,
        }
    }

    /// Whether it is time to fetch ahead of expiry.
    pub fn is_due(&self, jwks: &Jwks, now: Time) -> bool {
        if self.flight(now).is_some() {
            return false;
        }
        if self
            .attempt
            .is_some_and(|attempt| !attempt.ok && attempt.is_within(BACKOFF, now))
        {
            return false;
        }
        match (&self.keys, self.attempt) {
            (None, _) => true,
            // The clock stepped back: how old the keys are can no longer be told.
            (Some(_), Some(attempt)) if now < attempt.at => true,
            (Some((_, expires)), _) => now >= expires.minus(jwks.refresh_ahead()),
        }
    }

    /// The fetch, which is now under way.
    pub fn fetch(&mut self, jwks: &Jwks, now: Time) -> Callout {
        self.flight = Some(now.plus(jwks.timeout).plus(Duration::from_millis(100)));
        Callout {
            upstream: jwks.upstream.clone(),
            method: "GET",
            path: jwks.path.clone(),
            headers: vec![("accept".into(), "application/json".to_owned())],
            body: Vec::new(),
            timeout: jwks.timeout,
            max_answer: MAX_BYTES,
        }
    }

    /// Nobody is left to take the answer.
    pub fn abandon(&mut self) {
        self.flight = None;
    }

    /// Takes the end of a fetch. Keys that are here stay when no better ones came.
    pub fn store(
        &mut self,
        answer: Result<Answer<'_>, CalloutError>,
        provider: &Provider,
        now: Time,
        effects: &mut Effects<AuthMetric>,
    ) {
        self.flight = None;
        let name = &provider.name;
        let outcome = match answer {
            Ok(answer) if answer.status == 200 => match KeySet::parse(answer.body) {
                Ok((keys, ignored)) => {
                    for key in ignored {
                        effects.log(Level::Warn, format!("auth: JWKS of {name}: {key}"));
                    }
                    Ok(keys)
                }
                Err(error) => Err(error.to_string()),
            },
            Ok(answer) => Err(format!("status {}", answer.status)),
            Err(error) => Err(error.to_string()),
        };
        self.attempt = Some(Attempt {
            at: now,
            ok: outcome.is_ok(),
        });
        effects.count(AuthMetric::JwksFetches {
            provider: name.clone(),
            ok: outcome.is_ok(),
        });
        match outcome {
            Ok(keys) => {
                let count = u64::try_from(keys.keys().len()).unwrap_or(u64::MAX);
                effects.record(
                    AuthMetric::JwksKeys {
                        provider: name.clone(),
                    },
                    count,
                );
                self.keys = Some((keys, now.plus(provider.jwks.ttl)));
                self.generation = self.generation.wrapping_add(1);
            }
            Err(reason) => {
                effects.log(
                    Level::Warn,
                    format!("auth: JWKS of {name} not fetched: {reason}"),
                );
            }
        }
        effects.wake = true;
    }

    fn flight(&self, now: Time) -> Option<Time> {
        self.flight.filter(|until| now < *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::callout::Upstream;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn jwks() -> Jwks {
        Jwks {
            upstream: Upstream {
                target: "u".into(),
                authority: "u".into(),
            },
            path: "/".into(),
            ttl: Duration::from_secs(300),
            timeout: Duration::from_secs(2),
            refetch_cooldown: Duration::from_secs(10),
        }
    }

    fn source(fetched: Time, ok: bool) -> KeySource {
        let vectors = crate::signature::tests::vectors();
        let (keys, _) = KeySet::parse(vectors["jwks"].to_string().as_bytes()).unwrap();
        KeySource {
            keys: Some((keys, fetched.plus(jwks().ttl))),
            attempt: Some(Attempt { at: fetched, ok }),
            ..KeySource::default()
        }
    }

    #[test]
    fn keys_are_due_when_a_tenth_of_their_time_is_left() {
        let source = source(Time::from_secs(1000), true);
        assert!(!source.is_due(&jwks(), Time::from_secs(1269)));
        assert!(source.is_due(&jwks(), Time::from_secs(1270)));
    }

    #[test]
    fn a_clock_that_steps_back_puts_no_fetch_off() {
        for ok in [true, false] {
            let mut source = source(Time::from_secs(10_000), ok);
            let earlier = Time::from_secs(5000);
            assert!(source.is_due(&jwks(), earlier));
            assert_eq!(source.without_key(&jwks(), earlier), Missing::Fetch);
            source.keys = None;
            assert_eq!(source.without_keys(earlier), Missing::Fetch);
        }
    }
}
