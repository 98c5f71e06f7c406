//! Certificates are replaced under load: the gateway's SVID, the trust bundle, the upstream's, and the edge's own. No request
//! is lost (U2).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::client::{Client, trusting};
use crate::pki::{Authority, Identity, put};
use crate::upstream_mtls::{ENGINE, GATEWAY, Stage};

const CLIENTS: usize = 240;
/// So long the upstream takes, so that most of the clients wait for it at any time.
const SERVICE_TIME: Duration = Duration::from_secs(1);
/// Then a client connects anew, and sees the certificate of now.
const REQUESTS_PER_CONNECTION: u64 = 4;
/// So many are in flight when something is replaced.
const IN_FLIGHT: usize = 100;
const WITHIN: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Load {
    ends: AtomicBool,
    good: AtomicU64,
    bad: std::sync::Mutex<Vec<String>>,
    /// The certificates that clients were shown.
    shown: std::sync::Mutex<BTreeSet<Vec<u8>>>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_replaced_under_load_without_a_lost_request() {
    let stage = Stage::start(|shipped| {
        shipped.put(
            "max_connection_duration: 240s",
            "max_connection_duration: 2s",
        );
        // It is about certificates. A busy machine takes long for two hundred handshakes at a time.
        shipped.put("connect_timeout: 5s", "connect_timeout: 30s");
        shipped.put("timeout: 15s", "timeout: 60s");
    })
    .await;
    let (upstream, old) = (&stage.upstream, &stage.authority);
    let folder = |name: &str| stage.envoy.path(name);
    upstream.is(&old.svid(ENGINE), Some(old.roots()));
    upstream.answers(SERVICE_TIME, "ok", false);

    let load = Arc::new(Load::default());
    let config = trusting(stage.edge.roots());
    let address = stage.envoy.listener("https");
    let mut clients = Vec::new();
    for nth in 0..CLIENTS {
        // Handshakes cost the processors of a test machine more than requests: not all at once.
        if nth % 20 == 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let (load, config) = (Arc::clone(&load), Arc::clone(&config));
        clients.push(tokio::spawn(async move {
            while !load.ends.load(Ordering::Relaxed) {
                let mut client = match Client::tls(address, Arc::clone(&config)).await {
                    Ok(client) => client,
                    Err(error) => {
                        load.bad.lock().unwrap().push(error);
                        continue;
                    }
                };
                let shown = client.gateway.take();
                load.shown.lock().unwrap().extend(shown);
                for _ in 0..REQUESTS_PER_CONNECTION {
                    match client.get("gateway.test", "/v1/compliance/x").await {
                        Ok(got) if got.status == 200 => {
                            load.good.fetch_add(1, Ordering::Relaxed);
                            // On a slow machine the connection's time is over before its requests are.
                            if got.closes() {
                                break;
                            }
                        }
                        other => {
                            load.bad.lock().unwrap().push(format!("{other:?}"));
                            break;
                        }
                    }
                }
            }
        }));
    }
    let until = async |what: &str, fits: &dyn Fn() -> bool| {
        let began = Instant::now();
        while !fits() {
            assert!(
                began.elapsed() < WITHIN,
                "{what}: {:?}",
                load.bad.lock().unwrap()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let good = || load.good.load(Ordering::Relaxed);
    until("the load is there", &|| good() > CLIENTS as u64).await;
    let mut in_flight = Vec::new();
    let busy = async || until("many are in flight", &|| upstream.serving() >= IN_FLIGHT).await;
    let mut replaced = async |what: &str, fits: &dyn Fn() -> bool| {
        upstream.most_at_a_time();
        let before = good();
        until(what, fits).await;
        // All the while, and once all around.
        until("the load goes on", &|| good() >= before + CLIENTS as u64).await;
        busy().await;
        in_flight.push(upstream.most_at_a_time());
    };

    // The gateway's SVID.
    busy().await;
    let next = old.svid(GATEWAY);
    next.put(&folder("svid"));
    replaced("the upstream sees the next SVID", &|| {
        upstream.from(&next) > 0
    })
    .await;
    // The authority: first both are believed, then the workloads move, then the old one goes.
    let new = Authority::new("prod.example, the next");
    let mut either = old.roots();
    either.extend(new.roots().roots);
    let both = format!("{}{}", old.pem, new.pem);
    let lists = format!("{}{}", old.crl(&[]), new.crl(&[]));
    let updated = "cluster.compliance.client_ssl_socket_factory.ssl_context_update_by_sds";
    let updates = stage.envoy.stat(updated);
    put(&folder("bundle"), &[("ca.crt", &both), ("crl.pem", &lists)]);
    upstream.is(&old.svid(ENGINE), Some(either.clone()));
    replaced("both authorities are believed", &|| {
        stage.envoy.stat(updated) > updates
    })
    .await;
    upstream.is(&new.svid(ENGINE), Some(either));
    let next = new.svid(GATEWAY);
    next.put(&folder("svid"));
    replaced("the upstream sees an SVID of the new authority", &|| {
        upstream.from(&next) > 0
    })
    .await;
    put(
        &folder("bundle"),
        &[("ca.crt", &new.pem), ("crl.pem", &new.crl(&[]))],
    );
    upstream.is(&new.svid(ENGINE), Some(new.roots()));
    let last = new.svid(GATEWAY);
    last.put(&folder("svid"));
    replaced("the upstream sees the last SVID", &|| {
        upstream.from(&last) > 0
    })
    .await;
    // The edge's own.
    let next: Identity = stage.edge.named("gateway.test");
    next.put(&folder("edge"));
    let der = next.chain()[0].to_vec();
    replaced("clients see the edge's next certificate", &|| {
        load.shown.lock().unwrap().contains(&der)
    })
    .await;

    load.ends.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    let bad = load.bad.lock().unwrap().clone();
    assert!(bad.is_empty(), "{} lost: {:?}", bad.len(), bad.first());
    let least = in_flight.iter().min().copied().unwrap();
    println!(
        "{} requests, none lost; in flight over the swaps: {in_flight:?}",
        good()
    );
    assert!(
        least >= IN_FLIGHT,
        "in flight over the swaps: {in_flight:?}"
    );
    // The old authority is believed no more.
    upstream.is(&old.svid(ENGINE), Some(old.roots()));
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let mut client = Client::tls(address, config).await.unwrap();
    let got = client
        .get("gateway.test", "/v1/compliance/x")
        .await
        .unwrap();
    assert_eq!(got.code(), "UPSTREAM_MTLS_FAIL", "{got:?}");
}
