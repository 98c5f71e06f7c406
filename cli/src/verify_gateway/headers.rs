//! What may be said in headers.

use super::{Assertion, Checked, Gateway, Verdict};

pub const ASSERTIONS: &[Assertion] = &[
    Assertion {
        name: "server-names",
        requirement: "H3",
        says: "no answer names servers: Server, X-Powered-By, Via, X-Kong-*",
        check: |gateway| server_names(gateway).into(),
    },
    Assertion {
        name: "request-id",
        requirement: "H5",
        says: "every answer has an X-Request-Id of its own",
        check: |gateway| request_id(gateway).into(),
    },
    Assertion {
        name: "request-id-kept",
        requirement: "H5",
        says: "a well-formed X-Request-Id of the client is kept",
        check: |gateway| request_id_kept(gateway).into(),
    },
    Assertion {
        name: "request-id-replaced",
        requirement: "H5",
        says: "one that is not well-formed is replaced",
        check: |gateway| request_id_replaced(gateway).into(),
    },
    Assertion {
        name: "identity-headers",
        requirement: "J17",
        says: "services do not see a client's own X-Tenant-Id, X-Account-Id, X-User-Id, X-Tier",
        check: |gateway| identity_headers(gateway).into(),
    },
    Assertion {
        name: "forwarded-host",
        requirement: "H1",
        says: "services do not see a client's own X-Forwarded-Host",
        check: |gateway| forwarded_host(gateway).into(),
    },
    Assertion {
        name: "gateway-source",
        requirement: "H2",
        says: "services see X-Gateway-Source of the gateway, not of the client",
        check: |gateway| gateway_source(gateway).into(),
    },
    Assertion {
        name: "traceparent",
        requirement: "H5",
        says: "the trace that a client began goes on: traceparent",
        check: |gateway| traceparent(gateway).into(),
    },
];

/// Where nobody else would have it from.
const SPOOF: &str = "spoofed-4711";

fn server_names(gateway: &Gateway) -> Checked {
    for answer in [gateway.public()?, gateway.send(&gateway.protected())?] {
        let telling = answer.names().find(|name| {
            ["server", "x-powered-by", "via", "x-aspnet-version"].contains(name)
                || name.starts_with("x-kong-")
        });
        if let Some(name) = telling {
            return Err(Verdict::fail(format!(
                "{name}, with status {}",
                answer.status
            )));
        }
    }
    Ok(())
}

fn request_id(gateway: &Gateway) -> Checked {
    let mut ids = Vec::new();
    for answer in [
        gateway.public()?,
        gateway.public()?,
        gateway.send(&gateway.protected())?,
    ] {
        let id = answer.header("x-request-id").filter(|id| !id.is_empty());
        let Some(id) = id else {
            return Err(Verdict::fail(format!("none with status {}", answer.status)));
        };
        if ids.iter().any(|other| other == id) {
            return Err(Verdict::fail("two answers have the same"));
        }
        ids.push(id.to_owned());
    }
    Ok(())
}

fn request_id_kept(gateway: &Gateway) -> Checked {
    let own = format!("verify-{}.{:x}", std::process::id(), 0x4711);
    let request =
        crate::http::Request::get(&gateway.options.public_path).header("x-request-id", &own);
    let answer = gateway.send(&request)?;
    match answer.header("x-request-id") {
        Some(id) if id == own => Ok(()),
        Some(_) => Err(Verdict::fail("the answer has another")),
        None => Err(Verdict::fail("the answer has none")),
    }
}

fn request_id_replaced(gateway: &Gateway) -> Checked {
    let own = format!("<{SPOOF}> \"x\"");
    let request =
        crate::http::Request::get(&gateway.options.public_path).header("x-request-id", &own);
    let answer = gateway.send(&request)?;
    match answer.header("x-request-id") {
        Some(id) if id.contains(SPOOF) => Err(Verdict::fail("the answer has it as it was sent")),
        Some(_) => Ok(()),
        // Refused outright is as good.
        None if answer.status == 400 => Ok(()),
        None => Err(Verdict::fail("the answer has none")),
    }
}

fn identity_headers(gateway: &Gateway) -> Checked {
    let names = [
        "x-tenant-id",
        "x-account-id",
        "x-user-id",
        "x-tier",
        "x-api-key-id",
        "X_Tenant_Id",
    ];
    for name in names {
        // One with _ may be refused, and is not seen then.
        match gateway.echo(|request| request.header(name, SPOOF)) {
            Ok(answer) if answer.mentions(SPOOF) => {
                return Err(Verdict::fail(format!(
                    "the service sees the client's {name}"
                )));
            }
            Ok(_) => {}
            Err(_) if name.contains('_') => {}
            Err(verdict) => return Err(verdict),
        }
    }
    Ok(())
}

fn forwarded_host(gateway: &Gateway) -> Checked {
    let answer = gateway.echo(|request| request.header("x-forwarded-host", SPOOF))?;
    match answer.mentions(SPOOF) {
        true => Err(Verdict::fail("the service sees it")),
        false => Ok(()),
    }
}

fn gateway_source(gateway: &Gateway) -> Checked {
    let answer = gateway.echo(|request| request.header("x-gateway-source", SPOOF))?;
    if answer.mentions(SPOOF) {
        return Err(Verdict::fail("the service sees the client's"));
    }
    let body = String::from_utf8_lossy(&answer.body).to_ascii_lowercase();
    match body.contains("x-gateway-source") {
        true => Ok(()),
        false => Err(Verdict::fail("the service sees none")),
    }
}

fn traceparent(gateway: &Gateway) -> Checked {
    // The parent may be another one by then, the trace is the same.
    let trace = format!("{:032x}", u128::from(std::process::id()) | (0x4711 << 64));
    let value = format!("00-{trace}-00f067aa0ba902b7-01");
    let answer = gateway.echo(|request| request.header("traceparent", &value))?;
    match answer.mentions(&trace) {
        true => Ok(()),
        false => Err(Verdict::fail("the service does not see it")),
    }
}
