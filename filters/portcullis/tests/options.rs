//! What Kong is told is what the types of all sections say.

use policy::Chained;
use policy::chain::Links;
use policy::schema;
use portcullis::Concerns;

#[test]
fn kong_is_told_of_every_section() {
    let sections = [
        ("edge_headers", schema::of::<edge_headers::Raw>()),
        ("fingerprint_deny", schema::of::<fingerprint_deny::Raw>()),
        ("tarpit", schema::of::<tarpit::Raw>()),
        ("auth", schema::of::<auth::Raw>()),
        ("rate_limit", schema::of::<rate_limit::Raw>()),
        ("quota", schema::of::<quota::Raw>()),
    ];
    let names: Vec<&str> = sections.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, <Concerns as Chained>::Links::names());
    let meta = concat!(env!("CARGO_MANIFEST_DIR"), "/meta.json");
    testkit::meta::assert_is(meta.as_ref(), &schema::kong_meta_of_chain(&sections));
}
