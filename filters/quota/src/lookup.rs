//! The question to redis-proxy, and what comes of it.

use std::rc::Rc;

use policy::{Answer, Callout, CalloutError, Service};
use wire::quota::{QUOTA_PATH, Quota, QuotaReply, QuotaRequest};

/// Longest answer that is read: 256 quotas of some 250 bytes.
const MAX_ANSWER: usize = 128 * 1024;

/// Why there was no answer, beside the ends of callouts.
pub(crate) const SILENT: [&str; 6] = [
    "refused",
    "timeout",
    "broken",
    "too_large",
    "status",
    "malformed",
];

/// The question about these tenants; `None`: it cannot be written.
pub(crate) fn ask(tenants: &[Rc<str>], proxy: &Service) -> Option<Callout> {
    let question = QuotaRequest {
        tenants: tenants.iter().map(|tenant| (**tenant).to_owned()).collect(),
    };
    let body = serde_json::to_vec(&question).ok()?;
    Some(proxy.callout("POST", QUOTA_PATH, body, MAX_ANSWER))
}

/// The answer about so many tenants, or one of [`SILENT`].
pub(crate) fn read(
    answer: Result<Answer<'_>, CalloutError>,
    tenants: usize,
) -> Result<Vec<Option<Quota>>, &'static str> {
    let answer = answer.map_err(CalloutError::as_str)?;
    if answer.status != 200 {
        return Err("status");
    }
    let reply: QuotaReply = policy::json::read(answer.body).map_err(|_| "malformed")?;
    if reply.quotas.len() == tenants {
        Ok(reply.quotas)
    } else {
        Err("malformed")
    }
}

#[cfg(test)]
mod tests {
    use policy::Head;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn an_answer_is_for_every_tenant_or_none() {
        let headers = Head::default();
        let judge = |status, body: &'static str, tenants| {
            let answer = Answer {
                status,
                headers: &headers,
                body: body.as_bytes(),
            };
            read(Ok(answer), tenants).map(|quotas| quotas.len())
        };
        assert_eq!(judge(200, r#"{"quotas":[null]}"#, 1), Ok(1));
        for (status, body, why) in [
            (503, r#"{"quotas":[null]}"#, "status"),
            (200, r#"{"quotas":[null,null]}"#, "malformed"),
            (200, r#"{"quotas":[]}"#, "malformed"),
            (200, r#"{"quotas":[{"limit":1}]}"#, "malformed"),
            (200, "", "malformed"),
        ] {
            assert_eq!(judge(status, body, 1), Err(why), "{body}");
        }
        for error in CalloutError::ALL {
            assert!(SILENT.contains(&read(Err(error), 1).unwrap_err()));
        }
    }
}
