//! Samples in, top fingerprints out (C3, D8).

use serde_json::{Value, json};
use wire::samples::{MAX_SAMPLES, MAX_TEXT_BYTES, SAMPLES_PATH, Sample, SampleBatch};

use crate::control_client::{Control, lines};

const TOP: &str = "/internal/edge/fingerprints";

fn ja4(n: usize) -> String {
    format!("t13d1516h2_8daaf6152771_{n:012x}")
}

/// The value with number `n` comes by `n + 1` times.
fn known_run(values: usize) -> Vec<Sample> {
    let times = |n| std::iter::repeat_n(n, n + 1);
    (0..values)
        .flat_map(times)
        .map(|n| Sample {
            at_ms: 1_790_000_000_000,
            ja3_hash: Some(format!("{:032x}", n / 10)),
            ja4: Some(ja4(n)),
            ip: format!("192.0.2.{}", n % 5),
            consumer_id: Some("c-1".into()),
            tenant_id: Some("t-1".into()),
            country: Some("AF".into()),
            route: Some("orders".into()),
            status_code: 200,
            latency_ms: 12,
        })
        .collect()
}

async fn report(control: &Control, every: u32, samples: &[Sample]) {
    for chunk in samples.chunks(MAX_SAMPLES) {
        let batch = SampleBatch {
            every,
            dropped: 1,
            samples: chunk.to_vec(),
        };
        let answer = control.service.post(SAMPLES_PATH, &batch).await;
        assert_eq!(answer.status().as_u16(), 204);
    }
}

#[tokio::test]
async fn the_top_of_a_known_run_is_exact() {
    let control = Control::start().await;
    let run = known_run(80);
    assert_eq!(run.len(), 3_240);
    report(&control, 10, &run).await;
    let soc = control.soc();
    for path in [
        TOP.to_owned(),
        format!("{TOP}?top=50&since=1h"),
        format!("{TOP}?since=24h"),
    ] {
        let top = soc.get(&path).await.body;
        assert_eq!(
            (&top["samples"], &top["requests"]),
            (&json!(3_240), &json!(32_400)),
            "{path}"
        );
        assert_eq!(top["dropped"], 4);
        let kinds = top["kinds"].as_array().unwrap();
        let names: Vec<_> = kinds.iter().map(|kind| &kind["kind"]).collect();
        assert_eq!(names, ["ja3", "ja4", "ip"]);
        assert!(kinds.iter().all(|kind| kind["error_bound"] == 0), "exact");
        let expected: Vec<_> = (30..80)
            .rev()
            .map(|n| json!({"value": ja4(n), "samples": n + 1, "requests": (n + 1) * 10, "error": 0}))
            .collect();
        assert_eq!(kinds[1]["top"], json!(expected), "{path}");
        assert_eq!(kinds[0]["top"].as_array().unwrap().len(), 8);
        assert_eq!(kinds[2]["top"].as_array().unwrap().len(), 5);
        assert_eq!(
            kinds[2]["top"][0],
            json!({"value": "192.0.2.4", "samples": 680, "requests": 6_800, "error": 0})
        );
    }
    let one = soc
        .get(&format!("{TOP}?top=1&kind=ip&since=90s"))
        .await
        .body;
    assert_eq!(one["kinds"].as_array().unwrap().len(), 1);
    assert_eq!(one["kinds"][0]["top"].as_array().unwrap().len(), 1);

    let logged = lines(&control.service, "sample", 3_240, |_| true).await;
    let expected = json!({"at_ms": 1_790_000_000_000_u64, "every": 10, "ja3_hash": format!("{:032x}", 0),
        "ja4": ja4(0), "ip": "192.0.2.0", "consumer_id": "c-1", "tenant_id": "t-1", "country": "AF", "route": "orders",
        "status_code": 200, "latency_ms": 12});
    let mut first = logged[0].clone();
    first.as_object_mut().unwrap().remove("message");
    assert_eq!(first, expected);
    let metrics = control.service.metrics().await;
    for line in [
        "redis_proxy_samples_total 3240",
        "redis_proxy_samples_dropped_total 4",
        "redis_proxy_samples_malformed_total 0",
        "redis_proxy_edge_changes_total{list=\"deny\",action=\"added\"} 0",
    ] {
        assert!(metrics.contains(line), "{line}");
    }
    // Nobody's address, unless it is asked for.
    assert!(!metrics.contains("192.0.2."), "{metrics}");
}

#[tokio::test]
async fn metrics_show_the_heaviest_where_they_are_asked_to() {
    let control = Control::start_with("[fingerprints]\nmetrics_top = 2", "").await;
    let sample = |n: u8, status_code, country: &str| Sample {
        ip: format!("192.0.2.{n}"),
        status_code,
        country: Some(country.to_owned()),
        ..Sample::default()
    };
    let mut run = vec![sample(1, 200, "DE"); 5];
    run.extend(vec![sample(2, 403, "AF"); 3]);
    run.extend(vec![sample(3, 429, "AF"); 2]);
    run.push(sample(4, 404, "T1"));
    report(&control, 10, &run).await;
    let metrics = control.service.metrics().await;
    for line in [
        r#"redis_proxy_top_client_requests{kind="ip",value="192.0.2.1"} 50"#,
        r#"redis_proxy_top_client_requests{kind="ip",value="192.0.2.2"} 30"#,
        r#"redis_proxy_top_client_requests{kind="ip_4xx",value="192.0.2.2"} 30"#,
        r#"redis_proxy_top_client_requests{kind="ip_4xx",value="192.0.2.3"} 20"#,
        r#"redis_proxy_country_requests_total{country="AF"} 50"#,
        r#"redis_proxy_country_requests_total{country="T1"} 10"#,
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    let shown = metrics.matches("top_client_requests{").count();
    assert_eq!(shown, 4, "{metrics}");
}

#[tokio::test]
async fn what_was_refused_is_told_by_kind_and_minute() {
    let control = Control::start().await;
    let statuses = [200, 401, 403, 403, 429, 404, 503, 0];
    let samples = statuses.map(|status_code| Sample {
        ip: "192.0.2.1".into(),
        status_code,
        ..Sample::default()
    });
    report(&control, 10, &samples).await;
    let soc = control.soc();
    let told = soc.get("/internal/edge/refusals").await.body;
    let sums: Vec<_> = told["kinds"]
        .as_array()
        .unwrap()
        .iter()
        .map(|of| {
            let minutes = of["per_minute"].as_array().unwrap();
            assert_eq!(minutes.len(), 60);
            let ended: u64 = minutes.iter().map(|count| count.as_u64().unwrap()).sum();
            (
                of["kind"].as_str().unwrap(),
                ended + of["this_minute"].as_u64().unwrap(),
            )
        })
        .collect();
    let expected = [
        ("unauthenticated", 10),
        ("denied", 20),
        ("limited", 10),
        ("invalid", 10),
        ("failed", 10),
    ];
    assert_eq!(sums, expected);
    assert_eq!(
        soc.get("/internal/edge/refusals?top=1").await.problem(),
        "bad_query"
    );
}

#[tokio::test]
async fn with_few_counters_the_stated_error_holds() {
    let control =
        Control::start_with("[fingerprints]\ncounters = 64\nlog_samples = false", "").await;
    let mut run = known_run(80);
    // a flood of values that come once, between the others
    for n in 0..1_000 {
        let once = Sample {
            ja4: Some(ja4(10_000 + n)),
            ip: "192.0.2.9".into(),
            ..Sample::default()
        };
        run.insert((n * 3) % run.len(), once);
    }
    report(&control, 1, &run).await;
    let top = control
        .soc()
        .get(&format!("{TOP}?kind=ja4&top=64"))
        .await
        .body;
    let kind = &top["kinds"][0];
    let bound = kind["error_bound"].as_u64().unwrap();
    // a run that passes a full minute has two buckets
    assert!(0 < bound && bound <= 4_240 / 64, "{bound}");
    for counter in kind["top"].as_array().unwrap() {
        let value = counter["value"].as_str().unwrap();
        let exact = run
            .iter()
            .filter(|s| s.ja4.as_deref() == Some(value))
            .count() as u64;
        let (most, error) = (
            counter["requests"].as_u64().unwrap(),
            counter["error"].as_u64().unwrap(),
        );
        assert!((most - error..=most).contains(&exact), "{counter} {exact}");
        assert!(
            error <= bound && counter["samples"].as_u64().unwrap() <= exact,
            "{counter}"
        );
    }
    for n in 0..80_u64 {
        if n + 1 > bound {
            let value = ja4(n.try_into().unwrap());
            assert!(
                kind.to_string().contains(&value),
                "{value} came {} times",
                n + 1
            );
        }
    }
    // Switched off.
    lines(&control.service, "sample", 0, |_| true).await;
}

#[tokio::test]
async fn a_batch_has_bounds_and_a_bad_one_counts_nothing() {
    let control = Control::start_with("log = 'warn'", "").await;
    let long = "x".repeat(MAX_TEXT_BYTES);
    let sample = Sample {
        ja3_hash: Some(long.clone()),
        ja4: Some(long.clone()),
        ip: long.clone(),
        consumer_id: Some(long.clone()),
        tenant_id: Some(long.clone()),
        country: Some(long.clone()),
        route: Some(long.clone()),
        at_ms: u64::MAX,
        status_code: u16::MAX,
        latency_ms: u32::MAX,
    };
    let full = json!({"every": 1, "samples": vec![&sample; MAX_SAMPLES]});
    let answer = control.service.post(SAMPLES_PATH, &full).await;
    assert_eq!(answer.status().as_u16(), 204, "the longest batch there is");
    let with = |field: &str| {
        let mut sample = json!(sample);
        sample[field] = json!("x".repeat(MAX_TEXT_BYTES + 1));
        json!({"every": 1, "samples": [{"at_ms": 0, "ip": "::1", "status_code": 1, "latency_ms": 1}, sample]})
    };
    let huge = json!({"every": 1, "samples": [], "more": "x".repeat(3 << 20)});
    for (body, status, code) in [
        (json!({"every": 0, "samples": []}), 400, "bad_batch"),
        (json!({"every": 1_000_001, "samples": []}), 400, "bad_batch"),
        (
            json!({"every": 1, "samples": vec![&Sample::default(); MAX_SAMPLES + 1]}),
            400,
            "bad_batch",
        ),
        (with("ip"), 400, "bad_batch"),
        (with("route"), 400, "bad_batch"),
        (json!({"samples": []}), 400, "bad_body"),
        (
            json!({"every": 1, "samples": [{"ip": "::1"}]}),
            400,
            "bad_body",
        ),
        (huge, 413, "body_too_large"),
    ] {
        let answer = control.service.post(SAMPLES_PATH, &body).await;
        assert_eq!(answer.status().as_u16(), status);
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["code"], code, "{problem}");
        if code == "bad_batch" && body["samples"].as_array().unwrap().len() == 2 {
            assert!(
                problem["detail"]
                    .as_str()
                    .unwrap()
                    .starts_with("samples[1]."),
                "{problem}"
            );
        }
    }
    let top = control.soc().get(TOP).await.body;
    assert_eq!(top["samples"], 1_000);
    assert_eq!(top["kinds"][2]["samples"], 0, "no address");
    let metrics = control.service.metrics().await;
    assert!(
        metrics.contains("redis_proxy_samples_malformed_total 4000"),
        "{metrics}"
    );
}
