//! How a client comes to the gateway.

use super::old_tls;
use super::{Assertion, Checked, Gateway, Verdict, is_success};
use crate::http::{Answer, Fault, Request};

pub const ASSERTIONS: &[Assertion] = &[
    Assertion {
        name: "certificate",
        requirement: "DT-001",
        says: "TLS 1.2 or later, with a certificate that is believed and is for this host",
        check: certificate,
    },
    Assertion {
        name: "old-tls",
        requirement: "DT-001",
        says: "a client that has no more than TLS 1.1 is refused",
        check: old_tls,
    },
    Assertion {
        name: "cleartext",
        requirement: "DT-001",
        says: "a request without TLS is not answered as one with it",
        check: cleartext,
    },
    Assertion {
        name: "hsts",
        requirement: "H4",
        says: "HSTS for a year or more with all subdomains, also on a refusal",
        check: |gateway| hsts(gateway).into(),
    },
    Assertion {
        name: "health",
        requirement: "O5",
        says: "the public path answers 200 without a credential",
        check: health,
    },
];

const NO_TLS: &str = "the URL is http: there is no TLS to look at";

fn certificate(gateway: &Gateway) -> Verdict {
    if !gateway.client.target.tls {
        return Verdict::skipped(NO_TLS);
    }
    match gateway.public() {
        Ok(Answer { tls: Some(_), .. }) | Err(Fault::Closed | Fault::NotHttp(_)) => Verdict::Pass,
        Ok(_) => Verdict::fail("the answer came without TLS"),
        Err(fault) => Verdict::fail(fault.to_string()),
    }
}

fn old_tls(gateway: &Gateway) -> Verdict {
    if !gateway.client.target.tls {
        return Verdict::skipped(NO_TLS);
    }
    match old_tls::is_taken(&gateway.client.target, gateway.timeout()) {
        Ok(taken) => Verdict::of(!taken, || {
            "it began a session of TLS 1.1 or older".to_owned()
        }),
        Err(fault) => fault.into(),
    }
}

fn cleartext(gateway: &Gateway) -> Verdict {
    let target = &gateway.client.target;
    if !target.tls {
        return Verdict::skipped(NO_TLS);
    }
    let plain = gateway.client.of(target.in_cleartext());
    match plain.send(&Request::get(&gateway.options.public_path)) {
        Ok(answer) if (200..300).contains(&answer.status) => {
            Verdict::fail(format!("status {} without TLS", answer.status))
        }
        _ => Verdict::Pass,
    }
}

fn hsts(gateway: &Gateway) -> Checked {
    if !gateway.client.target.tls {
        return Err(Verdict::skipped(NO_TLS));
    }
    for (what, answer) in [
        ("an answer", gateway.public()?),
        ("a refusal", gateway.send(&gateway.protected())?),
    ] {
        let Some(value) = answer.header("strict-transport-security") else {
            return Err(Verdict::fail(format!(
                "{what} has no Strict-Transport-Security"
            )));
        };
        let lower = value.to_ascii_lowercase();
        let mut parts = lower.split(';').map(str::trim);
        let age = parts
            .clone()
            .find_map(|part| part.strip_prefix("max-age=")?.parse::<u64>().ok());
        if age.is_none_or(|age| age < 31_536_000) || !parts.any(|part| part == "includesubdomains")
        {
            return Err(Verdict::fail(format!("{what} says {value:?}")));
        }
    }
    Ok(())
}

fn health(gateway: &Gateway) -> Verdict {
    match gateway.public() {
        Ok(answer) => Verdict::of(answer.status == 200 && is_success(&answer), || {
            format!("{}: status {}", gateway.options.public_path, answer.status)
        }),
        Err(fault) => fault.into(),
    }
}
