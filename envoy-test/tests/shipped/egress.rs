//! `ops/envoy/egress-mtls.yaml`: webhooks of tenants who ask for it come with the platform's SVID (K038).

use std::fs;

use crate::client::Client;
use crate::pki::Authority;
use crate::tls_upstream::TlsUpstream;
use envoy_test::shipped::Shipped;

const PLATFORM: &str = "spiffe://prod.example/ns/webhooks/sa/dispatcher";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_that_wants_a_certificate_gets_the_platform_s() {
    let platform = Authority::new("prod.example");
    let public = Authority::new("public");
    let (acme, beta) = (TlsUpstream::start().await, TlsUpstream::start().await);
    // Both want a client certificate of the platform; only one tenant has the toggle.
    acme.is(&public.named("hooks.acme.example"), Some(platform.roots()));
    beta.is(&public.named("hooks.beta.example"), Some(platform.roots()));
    let mut shipped = Shipped::new("envoy/egress-mtls.yaml");
    shipped.place("hooks.acme.example", 443, acme.address);
    shipped.place("hooks.beta.example", 443, beta.address);
    let listener = "address: 127.0.0.1, port_value: 8444";
    shipped.put(listener, "address: 127.0.0.1, port_value: 0");
    shipped.secrets();
    let folder = shipped.folder.path().to_owned();
    fs::write(folder.join("public.crt"), &public.pem).unwrap();
    let authorities = folder.join("public.crt").display().to_string();
    shipped.put("/etc/ssl/certs/ca-certificates.crt", &authorities);
    platform.svid(PLATFORM).put(&folder.join("svid"));
    let envoy = tokio::task::spawn_blocking(|| shipped.start());
    let envoy = envoy.await.unwrap();
    let address = envoy.listener("egress");
    let get = async |host: &str| {
        let mut client = Client::plain(address).await.unwrap();
        client.get(host, "/hook").await.unwrap()
    };

    let got = get("hooks.acme.example").await;
    assert_eq!(got.status, 200, "{got:?}\n{}", envoy.log());
    assert!(got.headers.contains(PLATFORM), "{got:?}");
    // The same demand, and no certificate: the tenant refuses.
    assert_eq!(get("hooks.beta.example").await.status, 503);
    assert_eq!(beta.requests(), 0);
    // Without the demand it is reached, and sees no certificate.
    beta.is(&public.named("hooks.beta.example"), None);
    let got = get("hooks.beta.example").await;
    assert_eq!(got.status, 200, "{got:?}");
    assert!(!got.headers.contains("spiffe://"), "{got:?}");
    // Whoever answers in a tenant's name gets neither the webhook nor the connection.
    acme.is(&public.named("hooks.evil.example"), Some(platform.roots()));
    assert_eq!(get("hooks.acme.example").await.status, 503);
    // Nobody else is called.
    assert_eq!(get("hooks.other.example").await.status, 404);
    // The next SVID is presented without a restart.
    acme.is(&public.named("hooks.acme.example"), Some(platform.roots()));
    let next = platform.svid(PLATFORM);
    next.put(&folder.join("svid"));
    let began = std::time::Instant::now();
    while acme.from(&next) == 0 {
        assert!(
            began.elapsed().as_secs() < 20,
            "the old one is presented on"
        );
        assert_eq!(get("hooks.acme.example").await.status, 200);
    }
}
