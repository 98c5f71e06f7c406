//! What nobody should be able to send.

use super::{Assertion, Checked, Gateway, Verdict, is_success};
use crate::http::{Answer, Fault, Request};

pub const ASSERTIONS: &[Assertion] = &[
    Assertion {
        name: "ambiguous-path",
        requirement: "ours",
        says: "no spelling of the protected path passes without a credential",
        check: |gateway| ambiguous_path(gateway).into(),
    },
    Assertion {
        name: "method",
        requirement: "ours",
        says: "TRACE is refused, and repeats nothing",
        check: |gateway| method(gateway).into(),
    },
    Assertion {
        name: "long-header",
        requirement: "ours",
        says: "a header of 256 KiB is refused",
        check: |gateway| long_header(gateway).into(),
    },
    Assertion {
        name: "many-headers",
        requirement: "ours",
        says: "2,000 headers are refused",
        check: |gateway| many_headers(gateway).into(),
    },
    Assertion {
        name: "long-body",
        requirement: "ours",
        says: "a body of 8 GiB, announced without a credential, is refused before it comes",
        check: |gateway| long_body(gateway).into(),
    },
    Assertion {
        name: "two-lengths",
        requirement: "ours",
        says: "Content-Length beside Transfer-Encoding is refused",
        check: |gateway| two_lengths(gateway).into(),
    },
];

/// Refused, by an answer or by closing.
fn refused(answer: Result<Answer, Fault>) -> Checked {
    match answer {
        Ok(answer) if (400..500).contains(&answer.status) => Ok(()),
        Ok(answer) => Err(Verdict::fail(format!("status {}", answer.status))),
        Err(Fault::Closed | Fault::NotHttp(_)) => Ok(()),
        Err(fault) => Err(fault.into()),
    }
}

fn ambiguous_path(gateway: &Gateway) -> Checked {
    let path = &gateway.options.path;
    let public = &gateway.options.public_path;
    let encoded = path.replacen('/', "/%2e/", 1);
    let slashes = path.replace('/', "%2f").replacen("%2f", "/", 1);
    let spellings = [
        format!("/{path}"),
        format!("{public}/..{path}"),
        format!("{public}/%2e%2e{path}"),
        format!("{public}/..%2f{}", path.trim_start_matches('/')),
        format!("{public}/..;{path}"),
        format!("{public}\\..{path}"),
        format!("{path}/."),
        format!("{path}%00"),
        encoded,
        slashes,
    ];
    for spelling in spellings {
        match gateway.get(&spelling) {
            Ok(answer) if is_success(&answer) => {
                return Err(Verdict::fail(format!(
                    "{spelling}: status {}",
                    answer.status
                )));
            }
            Ok(_) | Err(Fault::Closed | Fault::NotHttp(_)) => {}
            Err(fault) => return Err(fault.into()),
        }
    }
    Ok(())
}

fn method(gateway: &Gateway) -> Checked {
    let marker = "trace-4711";
    let request = Request::new("TRACE", &gateway.options.public_path).header("x-verify", marker);
    let answer = gateway.send(&request);
    if let Ok(answer) = &answer
        && answer.mentions(marker)
    {
        return Err(Verdict::fail("the answer repeats the request"));
    }
    match answer {
        // Not implemented is refused too.
        Ok(answer) if answer.status == 501 => Ok(()),
        other => refused(other),
    }
}

fn long_header(gateway: &Gateway) -> Checked {
    let long = "a".repeat(256 * 1024);
    let request = Request::get(&gateway.options.public_path).header("x-verify", &long);
    refused(gateway.send(&request))
}

fn many_headers(gateway: &Gateway) -> Checked {
    let request = (0..2000).fold(Request::get(&gateway.options.public_path), |request, n| {
        request.header(&format!("x-verify-{n}"), "a")
    });
    refused(gateway.send(&request))
}

fn long_body(gateway: &Gateway) -> Checked {
    let request = Request::new("POST", &gateway.options.path)
        .header("content-type", "application/json")
        .header("content-length", "8589934592");
    refused(gateway.send(&request))
}

fn two_lengths(gateway: &Gateway) -> Checked {
    // Either length ends it at the same byte: no gateway is left with a rest of it.
    let request = Request::get(&gateway.options.public_path)
        .header("content-length", "5")
        .header("transfer-encoding", "chunked")
        .body(b"0\r\n\r\n");
    refused(gateway.send(&request))
}
