//! What needs logic: ids that tell requests apart.

use std::collections::HashSet;

use edge_headers::EdgeHeaders;
use policy::reply::well_formed_id;
use testkit::{Drive, Request, World};

#[test]
fn every_request_has_an_id_of_its_own_and_both_sides_are_told_the_same() {
    let mut drive = Drive::<EdgeHeaders>::new("{}", World::new()).unwrap();
    let mut seen = HashSet::new();
    for sent in [None, Some("a b"), Some(""), Some("a,b")] {
        for _ in 0..100 {
            let mut request = Request::get("/");
            if let Some(sent) = sent {
                request = request.header("x-request-id", sent);
            }
            let out = drive.request(request);
            let told = out.header("x-request-id").unwrap().to_owned();
            let upstream = out.upstream.as_ref().unwrap();
            let passed: Vec<_> = upstream.all("x-request-id").collect();
            assert_eq!(passed, [told.as_bytes().to_vec()], "{sent:?}");
            assert!(well_formed_id(told.as_bytes()).is_some(), "{told}");
            assert!(seen.insert(told));
        }
    }
}

#[test]
fn two_ids_are_none() {
    let mut drive = Drive::<EdgeHeaders>::new("{}", World::new()).unwrap();
    let request = Request::get("/")
        .header("x-request-id", "a")
        .header("x-request-id", "b");
    let out = drive.request(request);
    let upstream = out.upstream.as_ref().unwrap();
    let passed: Vec<_> = upstream.all("x-request-id").collect();
    assert_eq!(passed.len(), 1);
    assert!(passed[0] != b"a" && passed[0] != b"b");
}

#[test]
fn refusals_carry_the_id_and_hsts() {
    let config =
        r#"{"required": [{"headers": [{"name": "x-a"}]}], "trusted_proxies": ["127.0.0.0/8"]}"#;
    let mut drive = Drive::<EdgeHeaders>::new(config, World::new()).unwrap();
    let request = Request::get("/")
        .header("x-request-id", "r-1")
        .header("x-forwarded-proto", "https");
    let out = drive.request(request);
    assert_eq!(out.word(), "400 header_required");
    assert_eq!(out.header("x-request-id"), Some("r-1"));
    assert!(out.header("strict-transport-security").is_some());
}
