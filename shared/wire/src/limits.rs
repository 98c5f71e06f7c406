//! `POST /v1/limits/acquire`: take tokens from the store ahead of need (R1–R4, R7, R11, R12, R17).
//!
//! # What the store promises
//!
//! A key is one dimension and one value (`tenant` = `acme`) under one [`Limit`]. For each key of a
//! batch, on its own and atomically, on the store's clock, the store
//! 1. takes back what is given back ([`KeyRequest::give_back`]), then
//! 2. grants `min(want, available)`.
//!
//! Keys of a batch are independent: each may be granted, refused or failed alone. The promise below
//! is the same in the embedded store and in Redis (`redis-proxy/src/bucket/` in Rust,
//! `redis-proxy/src/scripts/` in Lua), and the same random sequences are run through both.
//!
//! ## `Shape::Paced`: two GCRA buckets
//! For limits of a rate: `1000/s`, `200/s`. Sustained: rate `r = tokens / period`, capacity `burst`
//! tokens. Peak: rate `peak / period`, capacity 100 ms of it. A grant must fit both. A capacity below
//! one token counts as one, else nothing could ever pass. With `m = 2` (the default) `burst =
//! (m−1)·r·10 s` and `peak = m·tokens`, so twice the rate passes for ten seconds, then once (R4); "no
//! burst" is `m = 1`: `burst` = 100 ms of `r` (R7).
//!
//! Over any window `T` on the store's clock, over any number of workers, tokens granted and not given
//! back are at most `min(r·T + burst, peak·T + 100 ms·peak)`, rounded up to a whole token. A worker
//! spends a token within [`LEASE_LIFE_MS`] (`E`) of taking it, so *requests* are bounded by the same
//! formula with `T + E` for `T`.
//!
//! ## `Shape::Window`: an exact count
//! For limits of a count: `5/min`, `10/15min`, `1000/5min`. All `tokens` may be taken at once, and no
//! window of the length of the period ever sees more than `tokens` (R11, R12).
//!
//! No GCRA bucket does that, whatever its parameters: to let `n` pass at once its capacity must be `n`,
//! and then a rate `ρ` lets one more pass after `1/ρ`. To keep that one out of the window, `1/ρ` must be
//! at least the period, and the limit is then one per period in the long run, not `n`. So the store
//! remembers when tokens were taken, and each comes back `period + E` after it was taken. `E` is
//! added because a token may be spent `E` after it was taken: counted where requests are admitted, at
//! whichever gateway, a window of one period holds at most `tokens`. The price: the sixth of 5/min passes
//! after 60.2 s, and `retry_after_ms` says so.
//!
//! Up to [`WINDOW_SLOTS`] tokens each is remembered by itself. Above, tokens taken within a
//! 1/[`WINDOW_SLOTS`] of the period share the time of the latest of them: never too early, at most
//! that much too late. A key never needs more than about 80 slots.
//!
//! ## Giving back
//! A token unspent after [`LEASE_LIFE_MS`] is given back in the next call, with the time since the
//! call that took it was *sent* ([`GiveBack::age_ms`]). The store remembers the takes of the last
//! [`GIVE_BACK_HORIZON_MS`] in slots of [`GIVE_BACK_SLOT_MS`], drops the oldest that are not older than that,
//! and works out the level again without them. So what stays is dated no earlier than what was
//! really spent, and giving back never makes room that was not there. (A plain "lower the level by what
//! is given back" does: a token drains while it lies unspent, and would be refunded as well.) What is
//! given back later, or after the rate of the key was changed, stays spent: an error on the strict side.
//!
//! ## Clock steps and changed limits
//! Time is the store's. A step forward refills, as time would. A step back of up to 1 s is waited out; a
//! larger one is taken as the new time, with levels as they were. A changed rate applies from
//! the next call on; a backlog keeps its length in *time*, so it drains within the capacity it was
//! made under, and gateways that for a while disagree about a limit share it in
//! proportion: `Σ granted_i / rate_i ≤ T + the longest capacity`.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// Where the filters send [`AcquireRequest`].
pub const ACQUIRE_PATH: &str = "/v1/limits/acquire";

/// Longest life of an unspent token in a worker, milliseconds (`E` in the promise).
pub const LEASE_LIFE_MS: u64 = 200;
/// Capacity of the peak bucket, and of the sustained one without burst, in milliseconds of its rate.
pub const TOLERANCE_MS: u64 = 100;
/// Length of the burst of a limit with the default burst, milliseconds (R4).
pub const BURST_MS: u64 = 10_000;
/// A token can be given back for this long, milliseconds: its life, a tick and a call.
pub const GIVE_BACK_HORIZON_MS: u64 = 500;
/// Takes of a paced limit within this time are not told apart, milliseconds.
pub const GIVE_BACK_SLOT_MS: u64 = 50;
/// Largest backward step of the store's clock that is waited out, milliseconds.
pub const CLOCK_WAIT_MS: u64 = 1_000;
/// Windowed limits remember this many takes exactly.
pub const WINDOW_SLOTS: u64 = 64;

/// Most keys in one request.
pub const MAX_KEYS: usize = 64;
/// Longest `value` of a key, bytes.
pub const MAX_VALUE_BYTES: usize = 1_024;
/// Longest `dim` of a key, bytes.
pub const MAX_DIM_BYTES: usize = 32;
/// Most tokens a limit, a burst, a peak, a `want` or a give-back may count.
pub const MAX_TOKENS: u64 = 10_000_000;
/// Longest period of a paced limit: one hour, milliseconds.
pub const MAX_PACED_PERIOD_MS: u64 = 3_600_000;
/// Longest time a paced limit may take to refill from empty: one hour, milliseconds.
pub const MAX_PACED_CAPACITY_MS: u64 = 3_600_000;
/// Longest period of a windowed limit: 31 days, milliseconds.
pub const MAX_WINDOW_PERIOD_MS: u64 = 2_678_400_000;

/// A limit: so many tokens per period, and what may exceed the even pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Tokens per period, 1 to [`MAX_TOKENS`].
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 10_000_000))]
    pub tokens: u64,
    /// The period in milliseconds, from 1; upper bound by shape.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 2_678_400_000u64))]
    pub period_ms: u64,
    /// How the tokens of a period may be spread.
    pub shape: Shape,
}

/// How the tokens of a period may be spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Shape {
    /// A rate: two GCRA buckets.
    Paced {
        /// Capacity of the sustained bucket in tokens, 0 to [`MAX_TOKENS`]; below one token it is one.
        #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 10_000_000))]
        burst: u64,
        /// Tokens per period of the peak bucket, at least `tokens`, at most [`MAX_TOKENS`] and
        /// [`MAX_TOKENS`] a second; its capacity is 100 ms of it.
        #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 10_000_000))]
        peak: u64,
    },
    /// A count: never more than `tokens` in any window of the period, all of them at once if need be.
    Window {},
}

/// As derived, but for time: of an enum with its tag inside, derived code keeps all fields until it has seen the tag.
impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum Kind {
            Paced,
            Window,
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Fields {
            kind: Kind,
            #[serde(default, deserialize_with = "given")]
            burst: Option<u64>,
            #[serde(default, deserialize_with = "given")]
            peak: Option<u64>,
        }
        let Fields { kind, burst, peak } = Fields::deserialize(deserializer)?;
        match (kind, burst, peak) {
            (Kind::Paced, Some(burst), Some(peak)) => Ok(Self::Paced { burst, peak }),
            (Kind::Paced, None, _) => Err(D::Error::missing_field("burst")),
            (Kind::Paced, _, None) => Err(D::Error::missing_field("peak")),
            (Kind::Window, None, None) => Ok(Self::Window {}),
            (Kind::Window, Some(_), _) => Err(D::Error::unknown_field("burst", &[])),
            (Kind::Window, _, Some(_)) => Err(D::Error::unknown_field("peak", &[])),
        }
    }
}

/// A field that is there is a number, never `null`.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    u64::deserialize(deserializer).map(Some)
}

impl Limit {
    /// A rate with the burst of R4: twice the rate for ten seconds.
    #[must_use]
    pub const fn paced(tokens: u64, period_ms: u64) -> Self {
        let burst = share(tokens, BURST_MS, period_ms);
        let shape = Shape::Paced {
            burst,
            peak: tokens.saturating_mul(2),
        };
        Self {
            tokens,
            period_ms,
            shape,
        }
    }

    /// A rate without burst (tier P3, R7): 100 ms of it, so that leases can exist.
    #[must_use]
    pub const fn without_burst(tokens: u64, period_ms: u64) -> Self {
        let burst = share(tokens, TOLERANCE_MS, period_ms);
        Self {
            tokens,
            period_ms,
            shape: Shape::Paced {
                burst,
                peak: tokens,
            },
        }
    }

    /// A count: exact over any window of the period (R11, R12, R13).
    #[must_use]
    pub const fn window(tokens: u64, period_ms: u64) -> Self {
        Self {
            tokens,
            period_ms,
            shape: Shape::Window {},
        }
    }

    /// The shape meant by a limit written without one: a rate up to one second, a count above.
    #[must_use]
    pub const fn usual(tokens: u64, period_ms: u64) -> Self {
        if period_ms <= 1_000 {
            Self::paced(tokens, period_ms)
        } else {
            Self::window(tokens, period_ms)
        }
    }

    /// The limit at `permille` of itself, never below one token (R19). 1,000 and more leave it unchanged.
    #[must_use]
    pub const fn scaled(self, permille: u32) -> Self {
        if permille >= 1_000 {
            return self;
        }
        let tokens = at_least_one(share(self.tokens, permille as u64, 1_000));
        let shape = match self.shape {
            Shape::Paced { burst, peak } => Shape::Paced {
                burst: share(burst, permille as u64, 1_000),
                peak: at_least_one(share(peak, permille as u64, 1_000)),
            },
            Shape::Window {} => Shape::Window {},
        };
        Self {
            tokens,
            period_ms: self.period_ms,
            shape,
        }
    }

    /// Whether the limit is within the bounds the arithmetic is exact for.
    ///
    /// # Errors
    /// [`LimitProblem`] names the first bound that does not hold.
    pub const fn check(&self) -> Result<(), LimitProblem> {
        if self.tokens == 0 || self.tokens > MAX_TOKENS {
            return Err(LimitProblem::Tokens);
        }
        match self.shape {
            Shape::Paced { burst, peak } => {
                if self.period_ms == 0 || self.period_ms > MAX_PACED_PERIOD_MS {
                    return Err(LimitProblem::Period);
                }
                if peak < self.tokens || share(peak, 1_000, self.period_ms) > MAX_TOKENS {
                    return Err(LimitProblem::Peak);
                }
                if peak > MAX_TOKENS {
                    return Err(LimitProblem::Peak);
                }
                if burst > MAX_TOKENS
                    || share(burst, self.period_ms, self.tokens) > MAX_PACED_CAPACITY_MS
                {
                    return Err(LimitProblem::Burst);
                }
            }
            Shape::Window {} => {
                if self.period_ms == 0 || self.period_ms > MAX_WINDOW_PERIOD_MS {
                    return Err(LimitProblem::Period);
                }
            }
        }
        Ok(())
    }
}

/// `amount * part / whole`, rounded down, without overflow.
const fn share(amount: u64, part: u64, whole: u64) -> u64 {
    let product = (amount as u128).saturating_mul(part as u128);
    match product.checked_div(whole as u128) {
        Some(share) if share <= u64::MAX as u128 => share as u64,
        _ => u64::MAX,
    }
}

const fn at_least_one(tokens: u64) -> u64 {
    if tokens == 0 { 1 } else { tokens }
}

/// A bound of a [`Limit`] that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitProblem {
    /// `tokens` must be 1 to 10,000,000.
    Tokens,
    /// `period_ms` must be 1 to one hour (paced) or 31 days (window).
    Period,
    /// `peak` must be from `tokens` to 10,000,000, and at most 10,000,000 a second.
    Peak,
    /// `burst` must be at most 10,000,000 and refill within one hour.
    Burst,
}

impl core::fmt::Display for LimitProblem {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Tokens => "tokens: must be 1 to 10000000",
            Self::Period => "period_ms: must be 1 to 3600000 (paced) or 2678400000 (window)",
            Self::Peak => "shape.peak: must be from tokens to 10000000, and at most 10000000/s",
            Self::Burst => "shape.burst: must be at most 10000000 and refill within one hour",
        })
    }
}

impl core::error::Error for LimitProblem {}

/// A batch of keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AcquireRequest {
    /// 1 to [`MAX_KEYS`] keys.
    #[cfg_attr(feature = "openapi", schema(min_items = 1, max_items = 64))]
    pub keys: Vec<KeyRequest>,
}

/// What a worker wants of one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct KeyRequest {
    /// The dimension: `tenant`, `ip`, `route`, … `[a-z][a-z0-9_-]*`, at most [`MAX_DIM_BYTES`].
    #[cfg_attr(feature = "openapi", schema(pattern = "^[a-z][a-z0-9_-]{0,31}$"))]
    pub dim: String,
    /// The value in that dimension, 1 to [`MAX_VALUE_BYTES`] bytes of anything.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 1024))]
    pub value: String,
    /// The limit of the key.
    pub limit: Limit,
    /// Tokens asked for; 0 only gives back or looks.
    #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 10_000_000))]
    pub want: u64,
    /// Tokens taken earlier that were not spent. Taken back before anything is granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub give_back: Option<GiveBack>,
}

/// Tokens taken earlier that were not spent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct GiveBack {
    /// How many.
    #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 10_000_000))]
    pub tokens: u64,
    /// Milliseconds, rounded up, since the call that took the oldest of them was sent. Above
    /// [`GIVE_BACK_HORIZON_MS`] nothing is taken back.
    pub age_ms: u64,
}

/// The answer to a batch. Status 200 when at least one key was decided; else a problem+json with
/// the [`Failure`] as its `code`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AcquireReply {
    /// The server's time, milliseconds since 1970. To log or compare, not to count with.
    pub now_ms: u64,
    /// One outcome per key asked for, in the same order.
    pub keys: Vec<KeyReply>,
}

/// What became of one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeyReply {
    /// Tokens granted, at most those wanted. They may be spent for [`LEASE_LIFE_MS`].
    pub granted: u64,
    /// Milliseconds until a further token can be had; 0 if one can be had now.
    pub retry_after_ms: u64,
    /// Whole tokens that can still be had now.
    pub remaining: u64,
    /// Milliseconds until the key is as if it had never been used.
    pub reset_ms: u64,
    /// `tokens` of the limit, as applied.
    pub limit: u64,
    /// Set when the store could not decide this key; the numbers are then 0 and mean nothing. The rule's
    /// failure mode applies (R10).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

impl KeyReply {
    /// An undecided key.
    #[must_use]
    pub fn failed(failure: Failure) -> Self {
        Self {
            failure: Some(failure),
            ..Self::default()
        }
    }
}

/// Why the store could not decide. Never a verdict on the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// The budget of the call (50 ms) ran out. Tokens may have been taken; they are lost, not spent.
    StoreTimeout,
    /// The store refused, broke the connection or answered nonsense.
    StoreUnavailable,
    /// The breaker is open: the store failed lately and was not asked.
    StoreOpen,
    /// Too many calls are waiting; this one was not queued.
    Overloaded,
    /// The embedded store holds as many keys as it may, and this one is new.
    StoreFull,
}

impl Failure {
    pub const ALL: [Self; 5] = [
        Self::StoreTimeout,
        Self::StoreUnavailable,
        Self::StoreOpen,
        Self::Overloaded,
        Self::StoreFull,
    ];

    /// The `code` in problem+json and the `failure` in replies.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::StoreTimeout => "store_timeout",
            Self::StoreUnavailable => "store_unavailable",
            Self::StoreOpen => "store_open",
            Self::Overloaded => "overloaded",
            Self::StoreFull => "store_full",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_burst_is_twice_the_rate_for_ten_seconds() {
        let limit = Limit::paced(1_000, 1_000);
        assert_eq!(
            limit.shape,
            Shape::Paced {
                burst: 10_000,
                peak: 2_000
            }
        );
    }

    #[test]
    fn without_burst_a_tenth_of_a_second_remains() {
        let limit = Limit::without_burst(1_000, 1_000);
        assert_eq!(
            limit.shape,
            Shape::Paced {
                burst: 100,
                peak: 1_000
            }
        );
    }

    #[test]
    fn a_limit_per_minute_is_a_count_and_one_per_second_a_rate() {
        assert_eq!(Limit::usual(5, 60_000), Limit::window(5, 60_000));
        assert_eq!(Limit::usual(50, 1_000), Limit::paced(50, 1_000));
    }

    #[test]
    fn scaling_keeps_at_least_one_token() {
        assert_eq!(
            Limit::paced(1_000, 1_000).scaled(500),
            Limit::paced(500, 1_000)
        );
        assert_eq!(Limit::window(5, 60_000).scaled(1).tokens, 1);
        assert_eq!(
            Limit::window(5, 60_000).scaled(2_000),
            Limit::window(5, 60_000)
        );
        for permille in 0..=1_000 {
            assert_eq!(Limit::paced(3, 1_000).scaled(permille).check(), Ok(()));
            assert_eq!(
                Limit::without_burst(3, 1_000).scaled(permille).check(),
                Ok(())
            );
        }
    }

    #[test]
    fn bounds_are_checked_at_their_edges() {
        let paced = |tokens, period_ms, burst, peak| {
            Limit {
                tokens,
                period_ms,
                shape: Shape::Paced { burst, peak },
            }
            .check()
        };
        assert_eq!(paced(0, 1, 0, 1), Err(LimitProblem::Tokens));
        assert_eq!(paced(MAX_TOKENS, 1_000, 0, MAX_TOKENS), Ok(()));
        assert_eq!(
            paced(MAX_TOKENS, 999, 0, MAX_TOKENS),
            Err(LimitProblem::Peak)
        );
        assert_eq!(
            paced(1, 3_600_000, 0, MAX_TOKENS + 1),
            Err(LimitProblem::Peak)
        );
        assert_eq!(
            paced(MAX_TOKENS + 1, 1, 0, u64::MAX),
            Err(LimitProblem::Tokens)
        );
        assert_eq!(paced(1, 0, 0, 1), Err(LimitProblem::Period));
        assert_eq!(paced(1, MAX_PACED_PERIOD_MS, 1, 1), Ok(()));
        assert_eq!(
            paced(1, MAX_PACED_PERIOD_MS + 1, 0, 1),
            Err(LimitProblem::Period)
        );
        assert_eq!(
            paced(1, MAX_PACED_PERIOD_MS, 2, 1),
            Err(LimitProblem::Burst)
        );
        assert_eq!(paced(1, 1_000, 3_600, 1), Ok(()));
        assert_eq!(paced(1, 1_000, 3_601, 1), Err(LimitProblem::Burst));
        assert_eq!(paced(2, 1_000, 0, 1), Err(LimitProblem::Peak));
        assert_eq!(Limit::window(1, MAX_WINDOW_PERIOD_MS).check(), Ok(()));
        assert_eq!(
            Limit::window(1, MAX_WINDOW_PERIOD_MS + 1).check(),
            Err(LimitProblem::Period)
        );
        assert_eq!(Limit::paced(u64::MAX, 1).check(), Err(LimitProblem::Tokens));
    }

    #[test]
    fn requests_and_replies_have_the_documented_json() {
        let request = r#"{"keys":[{"dim":"tenant","value":"acme","limit":{"tokens":1000,"period_ms":1000,"shape":{"kind":"paced","burst":10000,"peak":2000}},"want":5},{"dim":"ip","value":"::1","limit":{"tokens":5,"period_ms":60000,"shape":{"kind":"window"}},"want":1,"give_back":{"tokens":2,"age_ms":210}}]}"#;
        let parsed: AcquireRequest = serde_json::from_str(request).unwrap();
        assert_eq!(parsed.keys[0].limit, Limit::paced(1_000, 1_000));
        assert_eq!(parsed.keys[1].limit, Limit::window(5, 60_000));
        assert_eq!(parsed.keys[0].give_back, None);
        assert_eq!(
            parsed.keys[1].give_back,
            Some(GiveBack {
                tokens: 2,
                age_ms: 210
            })
        );
        assert_eq!(serde_json::to_string(&parsed).unwrap(), request);

        let reply = r#"{"now_ms":1,"keys":[{"granted":5,"retry_after_ms":0,"remaining":9995,"reset_ms":5,"limit":1000},{"granted":0,"retry_after_ms":0,"remaining":0,"reset_ms":0,"limit":0,"failure":"store_timeout"}]}"#;
        let parsed: AcquireReply = serde_json::from_str(reply).unwrap();
        assert_eq!(parsed.keys[1], KeyReply::failed(Failure::StoreTimeout));
        assert_eq!(serde_json::to_string(&parsed).unwrap(), reply);
    }

    #[test]
    fn unknown_fields_are_refused() {
        let typo = r#"{"keys":[{"dim":"ip","value":"a","limit":{"tokens":5,"period_ms":1,"shape":{"kind":"window"}},"want":1,"giveback":2}]}"#;
        assert!(serde_json::from_str::<AcquireRequest>(typo).is_err());
        let shape = r#"{"tokens":5,"period_ms":1,"shape":{"kind":"window","burst":3}}"#;
        assert!(serde_json::from_str::<Limit>(shape).is_err());
    }

    #[test]
    fn a_shape_has_the_fields_of_its_kind_in_any_order_and_no_others() {
        let read = |text: &str| serde_json::from_str::<Shape>(text).ok();
        let paced = Shape::Paced { burst: 3, peak: 4 };
        assert_eq!(read(r#"{"kind":"paced","burst":3,"peak":4}"#), Some(paced));
        assert_eq!(read(r#"{"peak":4,"burst":3,"kind":"paced"}"#), Some(paced));
        assert_eq!(read(r#"{"kind":"window"}"#), Some(Shape::Window {}));
        for wrong in [
            r#"{"kind":"paced","burst":3}"#,
            r#"{"kind":"paced","peak":4}"#,
            r#"{"kind":"paced","burst":null,"peak":4}"#,
            r#"{"kind":"paced","burst":3,"peak":4,"rate":5}"#,
            r#"{"kind":"paced","burst":3,"burst":3,"peak":4}"#,
            r#"{"kind":"window","peak":4}"#,
            r#"{"kind":"window","burst":null}"#,
            r#"{"kind":"other"}"#,
            r#"{"burst":3,"peak":4}"#,
            "{}",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn codes_are_the_json_names() {
        for failure in [
            Failure::StoreTimeout,
            Failure::StoreUnavailable,
            Failure::StoreOpen,
            Failure::Overloaded,
            Failure::StoreFull,
        ] {
            assert_eq!(serde_json::to_value(failure).unwrap(), failure.code());
        }
    }
}
