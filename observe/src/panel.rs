//! One panel of a dashboard: what it asks Prometheus, and how the answer is shown.

/// A panel.
#[derive(Clone, Debug)]
pub struct Panel {
    pub title: &'static str,
    pub look: Look,
    pub unit: Unit,
    pub queries: Vec<Query>,
    /// What one should know to read it.
    pub about: &'static str,
    /// Why nothing but zeros is right while all is well.
    pub quiet: Option<&'static str>,
}

/// How it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Lines over time.
    Lines,
    /// The number of now.
    Number,
    /// A bar for each series of now, longest first.
    Bars,
}

/// What its numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Count,
    PerSecond,
    PerMinute,
    /// 0 to 1.
    Share,
    Milliseconds,
    Seconds,
    Bytes,
}

/// One question in PromQL.
#[derive(Clone, Debug)]
pub struct Query {
    /// `$__rate_interval` and the dashboard's variables are replaced by whoever asks.
    pub expr: String,
    /// The name of its series: `{{label}}` is replaced.
    pub legend: &'static str,
}

impl Panel {
    fn new(title: &'static str, look: Look, unit: Unit) -> Self {
        Self {
            title,
            look,
            unit,
            queries: Vec::new(),
            about: "",
            quiet: None,
        }
    }

    #[must_use]
    pub fn lines(title: &'static str, unit: Unit) -> Self {
        Self::new(title, Look::Lines, unit)
    }

    #[must_use]
    pub fn number(title: &'static str, unit: Unit) -> Self {
        Self::new(title, Look::Number, unit)
    }

    #[must_use]
    pub fn bars(title: &'static str, unit: Unit) -> Self {
        Self::new(title, Look::Bars, unit)
    }

    #[must_use]
    pub fn ask(mut self, legend: &'static str, expr: impl Into<String>) -> Self {
        self.queries.push(Query {
            expr: expr.into(),
            legend,
        });
        self
    }

    #[must_use]
    pub const fn about(mut self, about: &'static str) -> Self {
        self.about = about;
        self
    }

    #[must_use]
    pub const fn quiet(mut self, why: &'static str) -> Self {
        self.quiet = Some(why);
        self
    }
}

impl Unit {
    /// Grafana's name for it.
    #[must_use]
    pub const fn in_grafana(self) -> &'static str {
        match self {
            Self::Count => "short",
            Self::PerSecond => "ops",
            Self::PerMinute => "opm",
            Self::Share => "percentunit",
            Self::Milliseconds => "ms",
            Self::Seconds => "s",
            Self::Bytes => "bytes",
        }
    }

    /// A number with its unit, short.
    #[must_use]
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Count => short(value),
            Self::PerSecond => format!("{}/s", short(value)),
            Self::PerMinute => format!("{}/min", short(value)),
            Self::Share => format!("{} %", short(value * 100.0)),
            Self::Milliseconds => format!("{} ms", short(value)),
            Self::Seconds => format!("{} s", short(value)),
            Self::Bytes if value >= 1e6 => format!("{} MB", short(value / 1e6)),
            Self::Bytes => format!("{} kB", short(value / 1e3)),
        }
    }
}

/// Three digits.
fn short(value: f64) -> String {
    let size = value.abs();
    let digits = match size {
        s if s >= 100.0 || s == 0.0 => 0,
        s if s >= 10.0 => 1,
        s if s >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        for (value, shown) in [
            (0.0, "0"),
            (1234.4, "1234"),
            (12.34, "12.3"),
            (1.5, "1.5"),
            (0.0123, "0.012"),
            (100.0, "100"),
        ] {
            assert_eq!(short(value), shown);
        }
        assert_eq!(Unit::Share.show(0.5), "50 %");
        assert_eq!(Unit::Bytes.show(2_500_000.0), "2.5 MB");
    }
}
