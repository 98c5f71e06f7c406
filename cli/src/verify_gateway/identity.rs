//! Who may pass.

use super::credentials::{tampered, unsigned};
use super::{Assertion, Checked, Gateway, Verdict, code_of, is_success, unauthorized};
use crate::http::Request;

pub const ASSERTIONS: &[Assertion] = &[
    Assertion {
        name: "no-credential",
        requirement: "J13",
        says: "without a credential the protected path is 401",
        check: |gateway| no_credential(gateway).into(),
    },
    Assertion {
        name: "challenge",
        requirement: "J12",
        says: "a 401 has WWW-Authenticate",
        check: |gateway| challenge(gateway).into(),
    },
    Assertion {
        name: "problem",
        requirement: "J12",
        says: "a 401 is application/problem+json with type, title, status, code and request_id",
        check: |gateway| problem(gateway).into(),
    },
    Assertion {
        name: "unknown-path",
        requirement: "J13",
        says: "a path that no rule knows is refused without a credential",
        check: |gateway| unknown_path(gateway).into(),
    },
    Assertion {
        name: "good-token",
        requirement: "J14",
        says: "a good token passes",
        check: |gateway| good_token(gateway).into(),
    },
    Assertion {
        name: "alg-none",
        requirement: "J1",
        says: "a token that nobody signed, alg: none, is 401",
        check: |gateway| alg_none(gateway).into(),
    },
    Assertion {
        name: "signature",
        requirement: "J1",
        says: "a token with one wrong byte in its signature is 401",
        check: |gateway| signature(gateway).into(),
    },
    Assertion {
        name: "expired",
        requirement: "J4",
        says: "an expired token is 401",
        check: |gateway| bad_token(gateway, "expired-token").into(),
    },
    Assertion {
        name: "issuer",
        requirement: "J2",
        says: "a token of another issuer is 401",
        check: |gateway| bad_token(gateway, "wrong-issuer-token").into(),
    },
    Assertion {
        name: "audience",
        requirement: "J3",
        says: "a token for another audience is 401",
        check: |gateway| bad_token(gateway, "wrong-audience-token").into(),
    },
    Assertion {
        name: "token-in-query",
        requirement: "J14",
        says: "a good token in the query is 401",
        check: |gateway| token_in_query(gateway).into(),
    },
    Assertion {
        name: "two-credentials",
        requirement: "J14",
        says: "two different tokens in one request are refused",
        check: |gateway| two_credentials(gateway).into(),
    },
    Assertion {
        name: "good-key",
        requirement: "A1",
        says: "a good API key passes",
        check: |gateway| good_key(gateway).into(),
    },
    Assertion {
        name: "key-stripped",
        requirement: "A6",
        says: "services do not see the API key",
        check: |gateway| key_stripped(gateway).into(),
    },
    Assertion {
        name: "malformed-key",
        requirement: "A9",
        says: "what has not the form of an API key is 401",
        check: |gateway| malformed_key(gateway).into(),
    },
    Assertion {
        name: "key-in-query",
        requirement: "A1",
        says: "an API key in the query is 401",
        check: |gateway| key_in_query(gateway).into(),
    },
    Assertion {
        name: "nothing-reflected",
        requirement: "SEC4",
        says: "a refusal does not repeat the credential",
        check: |gateway| nothing_reflected(gateway).into(),
    },
];

/// Of the right form, and nobody's.
const NO_KEY: &str = "gk_test_portcullis-verify-gateway-4711-0000000000000";

fn no_credential(gateway: &Gateway) -> Checked {
    unauthorized(&gateway.send(&gateway.protected())?)
}

fn challenge(gateway: &Gateway) -> Checked {
    let answer = gateway.send(&gateway.protected())?;
    unauthorized(&answer)?;
    match answer.header("www-authenticate") {
        Some(value) if !value.is_empty() => Ok(()),
        _ => Err(Verdict::fail("it has none")),
    }
}

fn problem(gateway: &Gateway) -> Checked {
    let answer = gateway.send(&gateway.protected())?;
    unauthorized(&answer)?;
    super::limits::is_problem(&answer)
}

fn unknown_path(gateway: &Gateway) -> Checked {
    let answer = gateway.get("/no-rule-knows-this-path-4711")?;
    match answer.status {
        401 | 403 | 404 => Ok(()),
        status => Err(Verdict::fail(format!("status {status}"))),
    }
}

fn passes(gateway: &Gateway, request: &Request) -> Checked {
    let answer = gateway.send(request)?;
    match is_success(&answer) {
        true => Ok(()),
        false => {
            let code = code_of(&answer).map(|code| format!(", {code}"));
            let code = code.unwrap_or_default();
            Err(Verdict::fail(format!("status {}{code}", answer.status)))
        }
    }
}

fn good_token(gateway: &Gateway) -> Checked {
    let token = gateway.credential("token")?;
    passes(gateway, &gateway.protected().bearer(token))
}

fn alg_none(gateway: &Gateway) -> Checked {
    let token = unsigned(gateway.credentials.get("token"));
    unauthorized(&gateway.send(&gateway.protected().bearer(&token))?)
}

fn signature(gateway: &Gateway) -> Checked {
    let token = gateway.credential("token")?;
    let Some(forged) = tampered(token) else {
        return Err(Verdict::skipped("the token is no signed JWT"));
    };
    unauthorized(&gateway.send(&gateway.protected().bearer(&forged))?)
}

fn bad_token(gateway: &Gateway, name: &str) -> Checked {
    let token = gateway.credential(name)?;
    unauthorized(&gateway.send(&gateway.protected().bearer(token))?)
}

fn token_in_query(gateway: &Gateway) -> Checked {
    let token = gateway.credential("token")?;
    for name in ["access_token", "token", "jwt"] {
        let path = format!("{}?{name}={token}", gateway.options.path);
        unauthorized(&gateway.get(&path)?)?;
    }
    Ok(())
}

fn two_credentials(gateway: &Gateway) -> Checked {
    let token = gateway.credential("token")?;
    let other = unsigned(Some(token));
    let request = gateway.protected().bearer(token).bearer(&other);
    let answer = gateway.send(&request)?;
    match answer.status {
        400 => Ok(()),
        _ => unauthorized(&answer),
    }
}

fn good_key(gateway: &Gateway) -> Checked {
    let key = gateway.credential("api-key")?;
    passes(gateway, &gateway.protected().header("x-api-key", key))
}

fn key_stripped(gateway: &Gateway) -> Checked {
    let key = gateway.credential("api-key")?;
    // Where a key is asked for, and where none is.
    let answer = gateway.send(&gateway.protected().header("x-api-key", key))?;
    if answer.mentions(key) {
        return Err(Verdict::fail("the service sees it"));
    }
    let answer = gateway.echo(|request| request.header("x-api-key", key))?;
    match answer.mentions(key) {
        true => Err(Verdict::fail("the service of a public path sees it")),
        false => Ok(()),
    }
}

fn malformed_key(gateway: &Gateway) -> Checked {
    unauthorized(&gateway.send(&gateway.protected().header("x-api-key", "gk_live_short"))?)
}

fn key_in_query(gateway: &Gateway) -> Checked {
    let key = gateway.credentials.get("api-key").unwrap_or(NO_KEY);
    for name in ["api_key", "apikey", "key"] {
        unauthorized(&gateway.get(&format!("{}?{name}={key}", gateway.options.path))?)?;
    }
    Ok(())
}

fn nothing_reflected(gateway: &Gateway) -> Checked {
    let token = unsigned(None);
    let answer = gateway.send(&gateway.protected().bearer(&token))?;
    match answer.mentions(&token) {
        true => Err(Verdict::fail("the answer has the token in it")),
        false => Ok(()),
    }
}
