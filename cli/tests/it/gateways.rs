//! Signed modules do in gateways what they did before: statements and signatures are sections that nothing runs.
//!
//! In a real Envoy and in Kong's strict double, which compiles and runs the module too.

use envoy_test::EnvoyGateway;
use testkit::gateway::{FilterSetup, Gateway};
use testkit::strict::StrictKong;
use testkit::{Request, World};

use crate::release::Desk;
use crate::run::root;

/// The headers filter adds this to what the upstream sees.
const CONFIG: &str = r#"{ "source": "signed" }"#;

fn serves(mut gateway: impl Gateway) {
    let world = World::new();
    gateway.open(&world).unwrap();
    let filter = FilterSetup {
        name: "edge_headers".to_owned(),
        config: CONFIG.to_owned(),
    };
    let loaded = gateway.configure(&[filter]).unwrap();
    loaded.unwrap_or_else(|refused| panic!("{}", refused.lines.join("\n")));
    let exchanges = gateway.send(vec![Request::get("/")]).unwrap();
    assert_eq!(exchanges[0].status, 200);
    let body = String::from_utf8_lossy(&exchanges[0].body).into_owned();
    assert!(body.contains("signed"), "{body}");
    gateway.stop(&[]).unwrap();
}

#[test]
fn signed_modules_run() {
    let desk = Desk::new();
    let envoy = desk.signed("edge_headers");
    let kong = root()
        .join("dist/kong/edge_headers.wasm")
        .display()
        .to_string();
    assert_eq!(desk.sign(&kong, "builder", "kong", "signed/kong").code, 0);
    let kong = desk.path("signed/kong/edge_headers.wasm");
    for (module, out) in [(&envoy, "signed"), (&kong, "signed/kong")] {
        for (to, key) in [
            ("staging", "steph"),
            ("production", "pat"),
            ("production", "paula"),
        ] {
            assert_eq!(desk.promote(module, to, key, out).code, 0);
        }
        desk.trusted(module, "production", &[]);
    }
    serves(EnvoyGateway::new(1).module("edge_headers", envoy.into()));
    serves(StrictKong::new(&desk.at("signed/kong")));
}
