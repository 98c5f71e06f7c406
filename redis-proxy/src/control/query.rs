//! Query parameters: read one by one, all problems told at once.

use axum::http::Uri;

use crate::{edge::FieldError, http::problem::Problem};

/// The parameters of a request.
pub struct Query {
    pairs: Vec<(String, String)>,
    problems: Vec<FieldError>,
}

impl Query {
    /// Of this address.
    pub fn of(uri: &Uri) -> Self {
        let text = uri.query().unwrap_or_default();
        Self {
            pairs: form_urlencoded::parse(text.as_bytes())
                .into_owned()
                .collect(),
            problems: Vec::new(),
        }
    }

    /// Takes a parameter. `None`: it is not there, or `read` does not understand it, which is a problem.
    pub fn take<T>(
        &mut self,
        name: &str,
        must: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let at = self.pairs.iter().position(|(key, _)| key == name)?;
        let (_, value) = self.pairs.swap_remove(at);
        let read = read(&value);
        if read.is_none() {
            self.problem(name, must);
        }
        read
    }

    /// A number of results.
    pub fn count(&mut self, name: &str, default: usize, most: usize) -> usize {
        let must = format!("must be a number from 1 to {most}");
        let read = |text: &str| plain(text).filter(|count| (1..=most).contains(count));
        self.take(name, &must, read).unwrap_or(default)
    }

    /// Ends it: parameters that nobody has taken are unknown, or are there twice.
    ///
    /// # Errors
    /// All problems.
    pub fn end(mut self) -> Result<(), Problem> {
        for (name, _) in std::mem::take(&mut self.pairs) {
            let name: String = name.chars().take(64).collect();
            self.problem(&name, "is unknown here, or there twice");
        }
        if self.problems.is_empty() {
            Ok(())
        } else {
            Err(Problem::fields("bad_query", self.problems))
        }
    }

    fn problem(&mut self, field: &str, problem: &str) {
        self.problems.push(FieldError {
            field: field.to_owned(),
            problem: problem.to_owned(),
        });
    }
}

/// Digits and nothing else.
pub fn plain<T: std::str::FromStr>(text: &str) -> Option<T> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parameter_that_is_wrong_is_named() {
        let uri = "/x?limit=0&cursor=+1&cursor=2&more=1&kind=ip"
            .parse()
            .unwrap();
        let mut query = Query::of(&uri);
        assert_eq!(query.count("limit", 7, 10), 7);
        assert_eq!(query.take("cursor", "must be a cursor", plain::<u64>), None);
        assert_eq!(query.take("kind", "", |kind| Some(kind.len())), Some(2));
        assert_eq!(query.take("absent", "", |_| Some(1)), None);
        let problem = serde_json::to_value(query.end().unwrap_err()).unwrap();
        let fields: Vec<_> = problem["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|error| error["field"].as_str().unwrap())
            .collect();
        assert_eq!(fields.len(), 4, "{problem}");
        for field in ["limit", "cursor", "more"] {
            assert!(fields.contains(&field), "{problem}");
        }
    }

    #[test]
    fn a_number_is_digits() {
        assert_eq!(plain::<u64>("18446744073709551615"), Some(u64::MAX));
        for bad in ["", "+1", "-1", " 1", "1.0", "18446744073709551616"] {
            assert_eq!(plain::<u64>(bad), None, "{bad:?}");
        }
    }
}
