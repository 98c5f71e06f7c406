//! The world over HTTP is the world that policies meet in this process.
#![cfg(feature = "gateway")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::sync::Arc;
use std::time::Duration;

use policy::duration::Span;
use testkit::http_client::Connection;
use testkit::http_server::Server;
use testkit::{ApiKey, Endpoint, Exchange, Fault, Key, Request, World};

struct Running {
    runtime: tokio::runtime::Runtime,
    world: World,
    auth: Server,
}

fn running() -> Running {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let world = World::new();
    world.auth.publish("/jwks", [&Key::ed25519("k", "seed")]);
    world.auth.add_api_key(ApiKey::new("alice", "acc_1"));
    let auth = Server::service(runtime.handle(), Arc::new(world.auth.clone())).unwrap();
    Running {
        runtime,
        world,
        auth,
    }
}

fn ask(server: &Server, request: &Request) -> std::io::Result<Exchange> {
    Connection::open(server.address(), None)?.exchange(request)
}

#[test]
fn key_sets_and_api_keys_are_served() {
    let r = running();
    let out = ask(&r.auth, &Request::get("/jwks")).unwrap();
    assert_eq!(out.status, 200);
    assert!(out.body.starts_with(b"{\"keys\":[{"), "{out:?}");
    assert_eq!(ask(&r.auth, &Request::get("/other")).unwrap().status, 404);

    let alice = ApiKey::new("alice", "acc_1");
    let body = format!(
        "{{\"key_sha256\":\"{}\"}}",
        testkit::mint::sha256_hex(&alice.key)
    );
    let question = Request::post("/internal/api-keys/resolve", body);
    assert_eq!(ask(&r.auth, &question).unwrap().status, 401);
    let question = question.bearer(testkit::auth_service::SERVICE_TOKEN);
    let out = ask(&r.auth, &question).unwrap();
    assert_eq!(out.status, 200);
    let reply: wire::api_keys::ResolveReply = serde_json::from_slice(&out.body).unwrap();
    assert!(reply.active);
    assert_eq!(reply.account_id.as_deref(), Some("acc_1"));
    r.world.auth.revoke(&alice.key);
    let out = ask(&r.auth, &question).unwrap();
    let reply: wire::api_keys::ResolveReply = serde_json::from_slice(&out.body).unwrap();
    assert!(!reply.active);
    assert_eq!(r.world.calls("resolve"), 3);
    assert_eq!(r.world.calls("jwks"), 1);
}

#[test]
fn faults_are_real() {
    let mut r = running();
    let get = Request::get("/jwks");
    let fail = |r: &Running, fault| r.world.auth.fail(Endpoint::Jwks, fault);
    fail(&r, Fault::Status(500));
    assert_eq!(ask(&r.auth, &get).unwrap().status, 500);
    fail(&r, Fault::Slow(Span::millis(300)));
    assert!(ask(&r.auth, &get).unwrap().took >= Duration::from_millis(300));
    fail(&r, Fault::Reset);
    assert_eq!(ask(&r.auth, &get).unwrap().status, 0);
    fail(&r, Fault::CutOff);
    let error = ask(&r.auth, &get).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    fail(&r, Fault::Huge);
    assert!(ask(&r.auth, &get).unwrap().body.len() > 10_000_000);
    fail(&r, Fault::None);

    let mut kept = Connection::open(r.auth.address(), None).unwrap();
    assert_eq!(kept.exchange(&get).unwrap().status, 200);
    assert_eq!(kept.exchange(&get).unwrap().status, 200);
    r.world.auth.fail(Endpoint::All, Fault::Refused);
    r.auth.follow().unwrap();
    let error = ask(&r.auth, &get).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    assert_eq!(
        kept.exchange(&get).unwrap().status,
        0,
        "old connections end too"
    );
    r.world.auth.heal();
    r.auth.follow().unwrap();
    assert_eq!(ask(&r.auth, &get).unwrap().status, 200);
}

#[test]
fn the_upstream_tells_what_it_saw() {
    let r = running();
    let upstream = Server::upstream(r.runtime.handle(), r.world.upstream.clone()).unwrap();
    let request = Request::post("/a?b=c", b"\xffbody".to_vec())
        .header("X-A", "1")
        .header("x-a", b"\xfe");
    let out = ask(&upstream, &request).unwrap();
    let seen = out.upstream.unwrap();
    assert_eq!(seen.method, "POST");
    assert_eq!(seen.path.bytes(), b"/a?b=c");
    assert_eq!(seen.body.bytes(), b"\xffbody");
    assert_eq!(
        seen.all("x-a").collect::<Vec<_>>(),
        [b"1".to_vec(), b"\xfe".to_vec()]
    );
    assert_eq!(r.world.upstream.requests(), 1);
    let seen = ask(&upstream, &Request::new("HEAD", "/")).unwrap().upstream;
    assert_eq!(seen.unwrap().method, "HEAD");
}
