//! The option table of the README is what the types say.
#![cfg(not(target_arch = "wasm32"))]

#[test]
fn every_option_is_documented() {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    testkit::options::assert_documented::<fingerprint_deny::Raw>(readme.as_ref());
}
