//! The option table of the README is what the types say.

#[test]
fn every_option_is_documented() {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    testkit::options::assert_documented::<tarpit::Raw>(readme.as_ref());
}
