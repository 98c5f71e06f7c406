//! What happens, in order.

use std::net::SocketAddr;

use testkit::{Endpoint, Fault, Request, World};

use crate::cast::Cast;

/// One request, and what must come of it.
pub struct Scene {
    pub what: &'static str,
    /// `200`, or a status and a code.
    pub expected: &'static str,
    /// A header that the upstream must see with this value; absent if the value is empty.
    pub upstream: Option<(&'static str, &'static str)>,
    request: Request,
    stage: Stage,
}

/// What is special about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Usual,
    /// The auth-service does not listen.
    AuthServiceDown,
    /// It comes from an address that has failed ten times.
    Guesser,
}

/// Every request claims an address of its own, lest the failed ones add up.
const FORWARDED: &str = "x-forwarded-for";
const GUESSER: &str = "198.51.100.7";

impl Scene {
    fn new(what: &'static str, request: Request, expected: &'static str) -> Self {
        Self {
            what,
            expected,
            upstream: None,
            request,
            stage: Stage::Usual,
        }
    }

    fn seen_as(mut self, header: &'static str, value: &'static str) -> Self {
        self.upstream = Some((header, value));
        self
    }

    fn on(mut self, stage: Stage) -> Self {
        self.stage = stage;
        self
    }

    /// The request, from a client of its own.
    pub fn request(&self, n: usize) -> Request {
        let address = match self.stage {
            Stage::Guesser => GUESSER.to_owned(),
            _ => format!("203.0.{}.{}", n / 250, n % 250 + 1),
        };
        self.request.clone().header(FORWARDED, address)
    }

    pub fn before(&self, world: &World) {
        if self.stage == Stage::AuthServiceDown {
            world.auth.fail(Endpoint::All, Fault::Refused);
        }
    }

    pub fn after(&self, world: &World) {
        world.auth.heal();
    }

    /// How many wrong guesses come first.
    pub fn guesses(&self) -> usize {
        if self.stage == Stage::Guesser { 10 } else { 0 }
    }

    /// Whether repeating it says something: what waits for a service that is down does not.
    pub fn is_timed(&self) -> bool {
        self.stage == Stage::Usual
    }

    /// A command that sends the same.
    pub fn curl(&self, address: SocketAddr) -> String {
        let mut command = "curl -si -w '\\n' --path-as-is".to_owned();
        for (name, value) in &self.request.headers {
            command.push_str(&format!(
                " -H '{}: {}'",
                String::from_utf8_lossy(name),
                String::from_utf8_lossy(value)
            ));
        }
        format!(
            "{command} 'http://{address}{}'",
            String::from_utf8_lossy(&self.request.path)
        )
    }
}

pub fn scenes(cast: &Cast) -> Vec<Scene> {
    let get = || Request::get("/v1/orders");
    let with_key = |key: &str| get().header("x-api-key", key);
    let query = |token: &str| format!("/v1/orders?access_token={token}");
    vec![
        Scene::new("a good token", get().bearer(&cast.good), "200")
            .seen_as("x-account-id", "acc-42"),
        Scene::new(
            "the same in the query",
            Request::get(query(&cast.good)),
            "200",
        )
        .seen_as("x-user-id", "user-7"),
        Scene::new(
            "an expired token",
            get().bearer(&cast.expired),
            "401 token_expired",
        ),
        Scene::new(
            "HS256, signed with the public key",
            get().bearer(&cast.hs256),
            "401 algorithm_not_allowed",
        ),
        Scene::new(
            "alg: none",
            get().bearer(&cast.none),
            "401 algorithm_not_allowed",
        ),
        Scene::new(
            "signed by somebody else",
            get().bearer(&cast.impostor),
            "401 signature_invalid",
        ),
        Scene::new(
            "for another audience",
            get().bearer(&cast.other_audience),
            "401 audience_mismatch",
        ),
        Scene::new(
            "an unknown kid",
            get().bearer(&cast.unknown_kid),
            "401 key_unknown",
        ),
        Scene::new(
            "two different tokens",
            Request::get(query(&cast.other_good)).bearer(&cast.good),
            "401 credentials_conflict",
        ),
        Scene::new(
            "a spoofed X-Account-Id",
            get().bearer(&cast.good).header("x-account-id", "acc-1"),
            "200",
        )
        .seen_as("x-account-id", "acc-42"),
        Scene::new("no credential", get(), "401 credentials_missing"),
        Scene::new(
            "a path of no rule",
            Request::get("/internal"),
            "401 no_rule",
        ),
        Scene::new(
            "a public path, spoofed",
            Request::get("/public/prices").header("x-account-id", "acc-1"),
            "200",
        )
        .seen_as("x-account-id", ""),
        Scene::new(
            "a way around: /public/../v1",
            Request::get("/public/%2e%2e/v1/orders"),
            "400 path_ambiguous",
        ),
        Scene::new(
            "admin without the role",
            Request::get("/v1/admin/users").bearer(&cast.good),
            "403 claims_insufficient",
        ),
        Scene::new(
            "admin with the role",
            Request::get("/v1/admin/users").bearer(&cast.admin),
            "200",
        ),
        Scene::new("a good API key", with_key(&cast.key.key), "200")
            .seen_as("x-api-key-id", "key_demo"),
        Scene::new("its successor", with_key(&cast.new_key.key), "200").seen_as("x-api-key", ""),
        Scene::new(
            "a revoked key",
            with_key(&cast.revoked_key.key),
            "401 api_key_invalid",
        ),
        Scene::new(
            "a key that cannot be one",
            with_key("gk_live_guess"),
            "401 api_key_malformed",
        ),
        Scene::new(
            "auth-service down: a new key",
            with_key(&cast.late_key.key),
            "503 api_key_lookup_failed",
        )
        .on(Stage::AuthServiceDown),
        Scene::new(
            "auth-service down: a token",
            get().bearer(&cast.other_good),
            "200",
        )
        .on(Stage::AuthServiceDown),
        Scene::new(
            "auth-service down: a known key",
            with_key(&cast.key.key),
            "200",
        )
        .on(Stage::AuthServiceDown),
        Scene::new(
            "ten wrong keys, then this",
            with_key("gk_live_guess"),
            "429 too_many_failures",
        )
        .on(Stage::Guesser),
    ]
}

/// How to go on by hand.
pub fn invite(cast: &Cast, address: SocketAddr, bare: SocketAddr, admin: SocketAddr) {
    println!(
        "\nEnvoy stays up until Ctrl-C.\n\
         \n  guarded by the filter   http://{address}\n  \
           without it              http://{bare}\n  \
           admin, statistics       http://{admin}/stats?filter=portcullis\n\
         \nThe upstream answers with the request as it saw it. Ten failures from one address within a\n\
         minute, and it gets 429 for what was not verified before.\n"
    );
    for scene in scenes(cast) {
        if scene.stage == Stage::Usual {
            println!(
                "# {}: {}\n{}\n",
                scene.what,
                scene.expected,
                scene.curl(address)
            );
        }
    }
}
