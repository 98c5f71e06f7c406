//! The option table of the README, and what Kong is told, are what the types say.

#[test]
fn every_option_is_documented() {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    testkit::options::assert_documented::<quota::Raw>(readme.as_ref());
}

#[test]
fn kong_is_told_of_every_option() {
    let meta = concat!(env!("CARGO_MANIFEST_DIR"), "/meta.json");
    testkit::meta::assert_written::<quota::Raw>(meta.as_ref());
}
