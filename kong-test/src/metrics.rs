//! What the filters count, as Kong's status port shows it.

use std::collections::BTreeMap;

/// Metrics of filters by exported name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    pub counters: BTreeMap<String, u64>,
    pub gauges: BTreeMap<String, u64>,
}

impl Metrics {
    /// Reads what the Prometheus plugin shows. Kong puts `pw_<filter>_` before each name; where a
    /// filter's `.meta.json` says how, labels have been taken out of the name.
    #[must_use]
    pub fn parse(text: &str, filters: &[&str]) -> Self {
        let mut metrics = Self::default();
        let (mut gauge, mut histogram) = (false, false);
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                gauge = rest.ends_with(" gauge");
                histogram = rest.ends_with(" histogram");
            }
            if histogram {
                continue;
            }
            let own = filters.iter().find_map(|filter| {
                line.strip_prefix("pw_")?
                    .strip_prefix(filter)?
                    .strip_prefix('_')
            });
            let Some((name, value)) = own.and_then(|line| line.rsplit_once(' ')) else {
                continue;
            };
            if let Ok(value) = value.parse() {
                let kind = if gauge {
                    &mut metrics.gauges
                } else {
                    &mut metrics.counters
                };
                kind.insert(exported(name), value);
            }
        }
        metrics
    }

    /// What has been counted since then; gauges as they are.
    #[must_use]
    pub fn since(mut self, base: &Self) -> BTreeMap<String, u64> {
        for (name, value) in &mut self.counters {
            *value -= base.counters.get(name).copied().unwrap_or_default();
        }
        self.counters.extend(self.gauges);
        self.counters
    }
}

/// `a{x="1",y="2"}` is exported as `a.x=1.y=2`.
fn exported(shown: &str) -> String {
    let Some((name, labels)) = shown.split_once('{') else {
        return shown.to_owned();
    };
    let labels = labels.trim_end_matches('}').trim_end_matches('"');
    labels.split("\",").fold(name.to_owned(), |out, label| {
        out + "." + &label.replacen("=\"", "=", 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_the_filter_exports() {
        let text = "# TYPE pw_auth_a.x=1 counter\npw_auth_a.x=1 3\n\
                    # TYPE pw_auth_g gauge\npw_auth_g 7\n\
                    # TYPE pw_rate_limit_a counter\npw_rate_limit_a{x=\"1\",y=\"-\"} 2\n\
                    # TYPE pw_auth_h histogram\npw_auth_h{le=\"+Inf\"} 4\npw_auth_h_sum 9\n\
                    # TYPE kong_x counter\nkong_x 9\n";
        let metrics = Metrics::parse(text, &["auth", "rate_limit"]);
        let expected = [("a.x=1", 3), ("a.x=1.y=-", 2), ("g", 7)];
        let owned = |(name, value): (&str, u64)| (name.to_owned(), value);
        let base = Metrics::default();
        assert_eq!(metrics.clone().since(&base), expected.map(owned).into());
        let since = metrics.clone().since(&metrics);
        let expected = [("a.x=1", 0), ("a.x=1.y=-", 0), ("g", 7)];
        assert_eq!(since, expected.map(owned).into());
    }
}
