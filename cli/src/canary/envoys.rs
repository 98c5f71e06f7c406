//! Whether Envoys have taken the weights, as their admin endpoints tell.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::plan::Plan;
use super::weights::Weights;
use crate::http::{Client, Request, Trust};
use crate::outcome::Failure;

/// Envoy looks at a file that was moved at once.
const TAKEN_WITHIN: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(100);

pub struct Envoys(Vec<Client>);

impl Envoys {
    pub fn new(plan: &Plan) -> Result<Self, Failure> {
        let client = |target: &crate::http::Target| {
            let trust = Trust::for_target(target.tls, plan.ca_file.as_deref())?;
            Ok(Client::new(target.clone(), trust, TIMEOUT))
        };
        let clients: Result<Vec<Client>, Failure> = plan.envoys.iter().map(client).collect();
        Ok(Self(clients?))
    }

    /// Waits until all of them use these weights.
    ///
    /// # Errors
    /// Who does not, or did not in time.
    pub fn await_share(
        &self,
        weights: &Weights,
        percent: u8,
        interrupted: &AtomicBool,
    ) -> Result<(), String> {
        let began = Instant::now();
        for envoy in &self.0 {
            while let Err(why) = has(envoy, weights, percent) {
                if began.elapsed() > TAKEN_WITHIN || interrupted.load(Ordering::Relaxed) {
                    return Err(format!("{}: {why}", envoy.target));
                }
                std::thread::sleep(POLL);
            }
        }
        Ok(())
    }
}

fn has(envoy: &Client, weights: &Weights, percent: u8) -> Result<(), String> {
    let answer = envoy.send(&Request::get("/runtime"));
    let answer = answer.map_err(|fault| fault.to_string())?;
    let runtime: Value = serde_json::from_slice(&answer.body)
        .map_err(|_| "the answer of its admin endpoint is no JSON".to_owned())?;
    for (key, weight) in weights.keys(percent) {
        let used = runtime.get("entries").and_then(|entries| entries.get(key));
        let used = used.and_then(|entry| entry.get("final_value")?.as_str());
        if used != Some(weight.to_string().as_str()) {
            return Err(format!(
                "{key} is {}, not {weight}",
                used.unwrap_or("not there")
            ));
        }
    }
    Ok(())
}
