//! The option table of the README, and what Kong is told, are what the types say.
#![cfg(not(target_arch = "wasm32"))]

#[test]
fn every_option_is_documented() {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    testkit::options::assert_documented::<fingerprint_deny::Raw>(readme.as_ref());
}

#[test]
fn kong_is_told_of_every_option() {
    let meta = concat!(env!("CARGO_MANIFEST_DIR"), "/meta.json");
    testkit::meta::assert_written::<fingerprint_deny::Raw>(meta.as_ref());
}
