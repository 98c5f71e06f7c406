//! What Prometheus says of the canary.

use std::time::Duration;

use serde_json::Value;

use super::plan::{Bound, Limit, Plan};
use crate::http::{Client, Request, Trust};
use crate::outcome::Failure;

const TIMEOUT: Duration = Duration::from_secs(5);

pub struct Evidence {
    prometheus: Client,
    token: Option<String>,
    bounds: Vec<Bound>,
}

#[derive(Debug, PartialEq)]
pub enum Judgement {
    /// All is as it has to be.
    Kept,
    /// An SLO is not kept.
    Broken(String),
    /// A number is not there yet, or there is too little traffic to tell.
    Missing(String),
    Unanswered(String),
}

impl Evidence {
    pub fn new(plan: &Plan) -> Result<Self, Failure> {
        let trust = Trust::for_target(plan.prometheus.tls, plan.ca_file.as_deref())?;
        let token = match &plan.token_file {
            None => None,
            Some(path) => {
                let text = std::fs::read_to_string(path);
                let text = text.map_err(|e| Failure::of_file(path, e))?;
                Some(text.trim().to_owned())
            }
        };
        Ok(Self {
            prometheus: Client::new(plan.prometheus.clone(), trust, TIMEOUT),
            token,
            bounds: plan.bounds.clone(),
        })
    }

    /// Asks for every number. What is broken counts more than what is missing.
    pub fn judge(&self) -> Judgement {
        let mut missing = None;
        for bound in &self.bounds {
            match self.ask(&bound.query).map(|value| against(bound, value)) {
                Ok(Judgement::Kept) => {}
                Ok(Judgement::Missing(what)) => missing = Some(what),
                Ok(broken) => return broken,
                Err(why) => return Judgement::Unanswered(why),
            }
        }
        missing.map_or(Judgement::Kept, Judgement::Missing)
    }

    /// The largest of the numbers that a query has now; `None`: it has none.
    fn ask(&self, query: &str) -> Result<Option<f64>, String> {
        let mut request = Request::get(&format!("/api/v1/query?query={}", encoded(query)));
        if let Some(token) = &self.token {
            request = request.bearer(token);
        }
        let answer = self.prometheus.send(&request);
        let answer = answer.map_err(|fault| fault.to_string())?;
        if answer.status != 200 {
            return Err(format!("status {} for {query}", answer.status));
        }
        largest(&answer.body).ok_or_else(|| format!("an answer of another form for {query}"))
    }
}

fn against(bound: &Bound, value: Option<f64>) -> Judgement {
    let Bound { name, limit, .. } = bound;
    match (value.filter(|value| !value.is_nan()), *limit) {
        (None, _) => Judgement::Missing(format!("{name}: there is no number")),
        (Some(value), Limit::AtMost(most)) if value > most => {
            Judgement::Broken(format!("{name} is {value}, above {most}"))
        }
        (Some(value), Limit::AtLeast(least)) if value < least => Judgement::Missing(format!(
            "{name} is {value}, below {least}: too little to tell"
        )),
        _ => Judgement::Kept,
    }
}

/// The largest number in an answer of Prometheus; the outer `None`: it is none.
fn largest(body: &[u8]) -> Option<Option<f64>> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let data = answer.get("data")?;
    let result = data.get("result")?.as_array()?;
    let number = |pair: &Value| pair.get(1)?.as_str()?.parse::<f64>().ok();
    match data.get("resultType")?.as_str()? {
        "scalar" => Some(Some(number(data.get("result")?)?)),
        "vector" => {
            let mut largest: Option<f64> = None;
            for sample in result {
                let value = number(sample.get("value")?)?;
                largest = Some(largest.map_or(value, |known| known.max(value)));
            }
            Some(largest)
        }
        _ => None,
    }
}

/// As a value in a query of a URL.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_as_prometheus_writes_them() {
        let vector = |values: &str| {
            let body = format!(
                r#"{{"status":"success","data":{{"resultType":"vector","result":[{values}]}}}}"#
            );
            largest(body.as_bytes())
        };
        assert_eq!(vector(""), Some(None));
        assert_eq!(
            vector(r#"{"metric":{},"value":[1.5,"0.25"]}"#),
            Some(Some(0.25))
        );
        let two = r#"{"metric":{"a":"1"},"value":[1,"3"]},{"metric":{"a":"2"},"value":[1,"+Inf"]}"#;
        assert_eq!(vector(two), Some(Some(f64::INFINITY)));
        let scalar = br#"{"status":"success","data":{"resultType":"scalar","result":[1,"2"]}}"#;
        assert_eq!(largest(scalar), Some(Some(2.0)));
        for bad in ["", "{}", r#"{"data":{"resultType":"matrix","result":[]}}"#] {
            assert_eq!(largest(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn no_number_is_neither_good_nor_bad() {
        let bound = |limit| Bound {
            name: "n".to_owned(),
            query: String::new(),
            limit,
        };
        let (most, least) = (bound(Limit::AtMost(1.0)), bound(Limit::AtLeast(1.0)));
        assert_eq!(against(&most, Some(1.0)), Judgement::Kept);
        assert!(matches!(against(&most, Some(1.1)), Judgement::Broken(_)));
        assert!(matches!(
            against(&most, Some(f64::INFINITY)),
            Judgement::Broken(_)
        ));
        for value in [None, Some(f64::NAN)] {
            assert!(matches!(against(&most, value), Judgement::Missing(_)));
        }
        assert!(matches!(against(&least, Some(0.9)), Judgement::Missing(_)));
        assert_eq!(against(&least, Some(1.0)), Judgement::Kept);
    }

    #[test]
    fn queries_are_encoded() {
        assert_eq!(
            encoded("a{b=\"c\"}[1m] + é"),
            "a%7Bb%3D%22c%22%7D%5B1m%5D%20%2B%20%C3%A9"
        );
    }
}
