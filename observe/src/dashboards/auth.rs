//! Who is let in, and what it costs to find out.

use super::{rate, share};
use crate::dashboard::Dashboard;
use crate::panel::{Panel, Unit};

pub(super) fn dashboard() -> Dashboard {
    Dashboard {
        name: "auth",
        title: "Auth",
        about: "JSON Web Tokens and API keys: verdicts, caches, and the services behind them.",
        variables: Vec::new(),
        panels: vec![
            Panel::lines("Verdicts", Unit::PerSecond).ask(
                "{{outcome}}",
                rate("outcome", "portcullis_requests{filter=\"auth\"}"),
            ),
            Panel::bars("Why credentials were refused", Unit::PerSecond).ask(
                "{{code}}",
                format!(
                    "topk(15, {} > 0)",
                    rate(
                        "code",
                        "portcullis_requests{filter=\"auth\",outcome=\"denied\"}"
                    )
                ),
            ),
            Panel::lines("Signatures checked", Unit::PerSecond).ask(
                "{{provider}} {{result}}",
                rate("provider, result", "portcullis_auth_signature_checks"),
            ),
            Panel::lines("Found among verified tokens", Unit::Share).ask(
                "hits",
                share("portcullis_auth_token_cache", "result=\"hit\""),
            ),
            Panel::lines("Found among remembered API keys", Unit::Share)
                .ask("hits", share("portcullis_auth_key_cache", "result=\"hit\"")),
            Panel::lines("Questions to the resolver of API keys", Unit::PerSecond)
                .ask("{{result}}", rate("result", "portcullis_auth_key_lookups")),
            Panel::lines("Fetches of key sets", Unit::PerMinute)
                .ask(
                    "{{provider}} {{result}}",
                    format!(
                        "60 * {}",
                        rate("provider, result", "portcullis_auth_jwks_fetches")
                    ),
                )
                .quiet("Mostly none: a key set is fetched every five minutes."),
            Panel::number("Usable keys", Unit::Count).ask(
                "{{provider}}",
                "min by (provider) (portcullis_auth_jwks_keys)",
            ),
            Panel::lines("Questions for revoked keys", Unit::PerSecond).ask(
                "{{result}}",
                rate("result", "portcullis_auth_revocation_polls"),
            ),
        ],
    }
}
