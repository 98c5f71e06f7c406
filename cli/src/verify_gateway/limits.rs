//! How often: only where somebody asked for it, with `--load`.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use serde_json::Value;

use super::{Assertion, Checked, Gateway, Verdict};
use crate::http::{Answer, Request};

pub const ASSERTIONS: &[Assertion] = &[
    Assertion {
        name: "limit",
        requirement: "R14",
        says: "too many requests are refused with 429, as problem+json",
        check: |gateway| limit(gateway).into(),
    },
    Assertion {
        name: "limit-fields",
        requirement: "R5",
        says: "a 429 says when: Retry-After, X-RateLimit-*, RateLimit, RateLimit-Policy",
        check: |gateway| fields(gateway).into(),
    },
];

/// Connections at a time.
const THREADS: u32 = 8;
const FIELDS: [&str; 5] = [
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "ratelimit",
    "ratelimit-policy",
];

/// A problem document as of RFC 9457, with what every one of ours has.
pub fn is_problem(answer: &Answer) -> Checked {
    let media_type = answer.header("content-type").unwrap_or("no content-type");
    if !media_type.starts_with("application/problem+json") {
        return Err(Verdict::fail(format!("it is {media_type}")));
    }
    let Ok(problem) = serde_json::from_slice::<Value>(&answer.body) else {
        return Err(Verdict::fail("its body is no JSON"));
    };
    for member in ["type", "title", "code", "request_id"] {
        let text = problem.get(member).and_then(Value::as_str);
        if text.is_none_or(str::is_empty) {
            return Err(Verdict::fail(format!("it has no {member}")));
        }
    }
    match problem.get("status").and_then(Value::as_u64) {
        Some(status) if status == u64::from(answer.status) => Ok(()),
        _ => Err(Verdict::fail("its status is not that of the answer")),
    }
}

/// The first 429, if one comes.
fn provoked(gateway: &Gateway) -> Result<Answer, Verdict> {
    let options = &gateway.options;
    if !options.load {
        return Err(Verdict::skipped("it takes many requests: --load"));
    }
    let path = options.load_path.as_deref().unwrap_or(&options.path);
    let request = match gateway.credentials.get("token") {
        Some(token) => Request::get(path).bearer(token),
        None => Request::get(path),
    };
    let began = Instant::now();
    let sent = AtomicU32::new(0);
    let found: Mutex<Option<Answer>> = Mutex::new(None);
    let lock = || {
        found
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    };
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while lock().is_none()
                    && sent.fetch_add(1, Ordering::Relaxed) < options.load_requests
                {
                    if let Ok(answer) = gateway.send(&request)
                        && answer.status == 429
                    {
                        lock().get_or_insert(answer);
                    }
                }
            });
        }
    });
    let answer = lock().take();
    answer.ok_or_else(|| {
        Verdict::fail(format!(
            "none of {} requests to {path} in {:.1} s: name a path with a lower limit, --load-path, or send more, --load-requests",
            options.load_requests,
            began.elapsed().as_secs_f64()
        ))
    })
}

fn limit(gateway: &Gateway) -> Checked {
    is_problem(&provoked(gateway)?)
}

fn fields(gateway: &Gateway) -> Checked {
    let answer = provoked(gateway)?;
    let after = answer
        .header("retry-after")
        .and_then(|it| it.parse::<u64>().ok());
    if after.is_none_or(|after| after == 0) {
        return Err(Verdict::fail(
            "Retry-After is no number of seconds, 1 or more",
        ));
    }
    let missing: Vec<&str> = FIELDS
        .into_iter()
        .filter(|name| answer.header(name).is_none())
        .collect();
    match missing.is_empty() {
        true => Ok(()),
        false => Err(Verdict::fail(format!("it has no {}", missing.join(", ")))),
    }
}
