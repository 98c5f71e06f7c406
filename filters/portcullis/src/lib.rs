//! The recommended chain as one module: headers, deny list, tarpit, identity, limits, quota.
//!
//! The same policies as in the filters of their own, in one virtual machine: a request costs one crossing
//! for each phase, not six. Each has its section of the configuration. See `README.md`.

use auth::Auth;
use edge_headers::EdgeHeaders;
use fingerprint_deny::FingerprintDeny;
use policy::{Chain, Chained, links};
use quota::Quota;
use rate_limit::RateLimit;
use tarpit::Tarpit;

/// What the chain is made of.
pub struct Concerns;

impl Chained for Concerns {
    const NAME: &'static str = "portcullis";
    /// In the order in which requests meet them. Who is not let in costs nothing that follows.
    type Links = links![EdgeHeaders, FingerprintDeny, Tarpit, Auth, RateLimit, Quota,];
}

/// The filter.
pub type Portcullis = Chain<Concerns>;

#[cfg(all(target_arch = "wasm32", target_os = "wasi"))]
host::main!(
    Portcullis,
    callouts,
    tick,
    request_body,
    response,
    response_status
);

#[cfg(test)]
mod tests {
    use policy::Filter;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::Portcullis;

    fn errors(text: &str) -> Vec<String> {
        match Portcullis::load(text.as_bytes()) {
            Ok(_) => Vec::new(),
            Err(errors) => errors.lines(Portcullis::NAME).collect(),
        }
    }

    #[test]
    fn every_error_of_every_section_is_named_with_its_path() {
        let found = errors(
            r#"{
                "auth": { "providers": { "staff": { "audiences": [] } }, "rules": [] },
                "tarpit": null,
                "rate_limit": { "shadow": 1 },
                "autth": {}
            }"#,
        );
        for start in [
            "portcullis: auth.rules: must not be empty",
            "portcullis: auth.providers.staff",
            "portcullis: tarpit: must be a JSON object",
            "portcullis: rate_limit.shadow: ",
            "portcullis: autth: is no section; there are edge_headers, fingerprint_deny, tarpit, auth, rate_limit, quota",
        ] {
            assert!(
                found.iter().any(|line| line.starts_with(start)),
                "{start}: {found:#?}"
            );
        }
    }

    #[test]
    fn a_chain_that_does_nothing_is_refused() {
        for text in ["", "{}", " \n"] {
            let found = errors(text);
            assert!(found.concat().contains("switches nothing on"), "{found:?}");
        }
        assert!(errors("[]").concat().contains("must be a JSON object"));
        assert!(
            errors("{\"auth\":{},\"auth\":{}}")
                .concat()
                .contains("occurs twice")
        );
        assert!(errors("{\"edge_headers\":{}}").is_empty());
    }
}
