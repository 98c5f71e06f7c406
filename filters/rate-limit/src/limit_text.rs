//! Limits as operators write them: `1000/s`, `5/min`, `10/15min`, `1000/5min`.

use wire::limits::{Limit, LimitProblem, Shape};

/// So many requests per period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count {
    pub tokens: u64,
    pub period_ms: u64,
}

const EXPECTED: &str =
    "expected requests per period, such as 1000/s, 5/min, 10/15min, 1000/5min, 100/h or 1000/d";

impl std::str::FromStr for Count {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (tokens, period) = text.split_once('/').ok_or(EXPECTED)?;
        let tokens = number(tokens)?;
        let unit_at = period.find(|c: char| !c.is_ascii_digit()).ok_or(EXPECTED)?;
        let (times, unit) = period.split_at_checked(unit_at).ok_or(EXPECTED)?;
        let times = if times.is_empty() { 1 } else { number(times)? };
        let unit_ms = match unit {
            "ms" => 1,
            "s" => 1_000,
            "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(EXPECTED),
        };
        let period_ms = times.checked_mul(unit_ms).ok_or("the period is too long")?;
        if tokens == 0 {
            return Err("must allow at least one request");
        }
        if period_ms == 0 {
            return Err("the period must be longer than 0");
        }
        Ok(Self { tokens, period_ms })
    }
}

fn number(digits: &str) -> Result<u64, &'static str> {
    let fits = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if fits {
        digits.parse().map_err(|_| "the number is too large")
    } else {
        Err(EXPECTED)
    }
}

/// What may exceed the even pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Burst {
    /// Up to a second: twice the rate for ten seconds (R4). Above: a count, which has none.
    Usual,
    /// 100 ms of the rate.
    None,
    /// So many requests.
    Requests(u64),
}

/// How the requests of a period may be spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spread {
    /// A rate up to a second, a count above.
    Usual,
    Rate,
    Count,
}

/// Why there is no such limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadLimit {
    /// A count is exact; it has no burst.
    BurstOfCount,
    /// A burst below the rate would be a lower rate.
    BurstBelowRate,
    Bounds(LimitProblem),
}

impl std::fmt::Display for BadLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BurstOfCount => f.write_str(
                "a count over a period is exact and has no burst: leave it out, or say \"shape\": \"rate\"",
            ),
            Self::BurstBelowRate => f.write_str("must not be below the limit itself"),
            Self::Bounds(problem) => problem.fmt(f),
        }
    }
}

impl Count {
    /// The limit as the store counts it.
    pub fn limit(self, burst: Burst, spread: Spread) -> Result<Limit, BadLimit> {
        let Self { tokens, period_ms } = self;
        let counts = match spread {
            Spread::Usual => period_ms > 1_000,
            Spread::Rate => false,
            Spread::Count => true,
        };
        let limit = match (counts, burst) {
            (true, Burst::Usual) => Limit::window(tokens, period_ms),
            (true, _) => return Err(BadLimit::BurstOfCount),
            (false, Burst::Usual) => Limit::paced(tokens, period_ms),
            (false, Burst::None) => Limit::without_burst(tokens, period_ms),
            (false, Burst::Requests(burst)) if burst < tokens => {
                return Err(BadLimit::BurstBelowRate);
            }
            (false, Burst::Requests(burst)) => Limit {
                tokens,
                period_ms,
                shape: Shape::Paced {
                    burst,
                    peak: tokens.saturating_mul(2),
                },
            },
        };
        limit.check().map_err(BadLimit::Bounds)?;
        Ok(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn reads_every_unit() {
        for (text, tokens, period_ms) in [
            ("1000/s", 1_000, 1_000),
            ("5/min", 5, 60_000),
            ("10/15min", 10, 900_000),
            ("1000/5min", 1_000, 300_000),
            ("7/500ms", 7, 500),
            ("100/h", 100, 3_600_000),
            ("9/2d", 9, 172_800_000),
        ] {
            assert_eq!(text.parse(), Ok(Count { tokens, period_ms }), "{text}");
        }
    }

    #[test]
    fn refuses_everything_else() {
        for bad in [
            "",
            "5",
            "/s",
            "5/",
            "5/m",
            "5/sec",
            "5/0s",
            "0/s",
            "-5/s",
            "+5/s",
            "5 /s",
            "5/ s",
            "1.5/s",
            "5/15",
            "99999999999999999999/s",
            "5/99999999999999999d",
            "5/s/s",
            "٣/s",
        ] {
            assert!(bad.parse::<Count>().is_err(), "{bad}");
        }
    }

    #[test]
    fn rates_and_counts_are_told_apart_by_their_period() {
        let limit = |text: &str, burst| text.parse::<Count>().unwrap().limit(burst, Spread::Usual);
        assert_eq!(
            limit("1000/s", Burst::Usual),
            Ok(Limit::paced(1_000, 1_000))
        );
        assert_eq!(
            limit("1000/s", Burst::None),
            Ok(Limit::without_burst(1_000, 1_000))
        );
        assert_eq!(limit("5/min", Burst::Usual), Ok(Limit::window(5, 60_000)));
        assert_eq!(limit("5/min", Burst::None), Err(BadLimit::BurstOfCount));
        assert_eq!(
            limit("200/s", Burst::Requests(199)),
            Err(BadLimit::BurstBelowRate)
        );
        let burst = limit("200/s", Burst::Requests(400)).unwrap();
        assert_eq!(
            burst.shape,
            Shape::Paced {
                burst: 400,
                peak: 400
            }
        );
        assert!(limit("20000000/s", Burst::Usual).is_err());
        assert!(limit("1/32d", Burst::Usual).is_err());
    }
}
