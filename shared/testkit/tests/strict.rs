//! The strict double finds each mistake that it claims to find: each is planted in a module of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use testkit::gateway::FilterSetup;
use testkit::strict::{Rule, StrictKong};
use testkit::{Gateway, Request, World};

/// A module that does nothing, but for what is planted in a callback. Strings are at fixed places in its memory.
fn module(planted: &str) -> String {
    // proxy_http_call with these headers: 3 pairs, their sizes, then names and values, each ended by NUL.
    let pairs = [(":method", "GET"), (":path", "/"), (":authority", "a")];
    let mut map: Vec<u8> = 3_u32.to_le_bytes().to_vec();
    for (name, value) in pairs {
        map.extend(u32::try_from(name.len()).unwrap().to_le_bytes());
        map.extend(u32::try_from(value.len()).unwrap().to_le_bytes());
    }
    for (name, value) in pairs {
        map.extend(name.bytes());
        map.push(0);
        map.extend(value.bytes());
        map.push(0);
    }
    let map_size = map.len();
    let map: String = map.iter().map(|byte| format!("\\{byte:02x}")).collect();
    let callback = |name: &str, parameters: usize, result: &str| {
        let tag = format!(";; in {name}\n");
        if let Some((_, rest)) = planted.split_once(&tag) {
            let body = rest.split(";; in ").next().unwrap();
            return format!(
                r#"(func (export "{name}") (param {}) {result} {body})"#,
                "i32 ".repeat(parameters)
            );
        }
        let body = match (result.is_empty(), name) {
            (true, _) => "",
            (false, "proxy_on_vm_start" | "proxy_on_configure" | "proxy_on_done") => {
                "(i32.const 1)"
            }
            (false, "proxy_on_memory_allocate") => "(i32.const 4096)",
            (false, _) => "(i32.const 0)",
        };
        format!(
            r#"(func (export "{name}") (param {}) {result} {body})"#,
            "i32 ".repeat(parameters)
        )
    };
    let result = "(result i32)";
    let callbacks: Vec<String> = [
        ("proxy_on_memory_allocate", 1, result),
        ("proxy_on_context_create", 2, ""),
        ("proxy_on_vm_start", 2, result),
        ("proxy_on_configure", 2, result),
        ("proxy_on_request_headers", 3, result),
        ("proxy_on_request_body", 3, result),
        ("proxy_on_response_headers", 3, result),
        ("proxy_on_response_body", 3, result),
        ("proxy_on_response_trailers", 2, result),
        ("proxy_on_done", 1, result),
        ("proxy_on_log", 1, ""),
        ("proxy_on_delete", 1, ""),
        ("proxy_on_tick", 1, ""),
        ("proxy_on_http_call_response", 5, ""),
    ]
    .into_iter()
    .map(|(name, parameters, result)| callback(name, parameters, result))
    .collect();
    format!(
        r#"(module
        (import "env" "proxy_set_tick_period_milliseconds" (func $tick (param i32) (result i32)))
        (import "env" "proxy_continue_stream" (func $continue (param i32) (result i32)))
        (import "env" "proxy_set_effective_context" (func $effective (param i32) (result i32)))
        (import "env" "proxy_http_call" (func $http_call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
        (import "env" "proxy_send_local_response" (func $reply (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
        (import "env" "proxy_get_header_map_pairs" (func $pairs (param i32 i32 i32) (result i32)))
        (import "env" "proxy_replace_header_map_value" (func $replace (param i32 i32 i32 i32 i32) (result i32)))
        (import "env" "proxy_get_buffer_bytes" (func $buffer (param i32 i32 i32 i32 i32) (result i32)))
        (import "env" "proxy_get_property" (func $property (param i32 i32 i32 i32) (result i32)))
        (import "env" "proxy_call_foreign_function" (func $foreign (param i32 i32 i32 i32 i32 i32) (result i32)))
        (import "env" "proxy_define_metric" (func $define (param i32 i32 i32 i32) (result i32)))
        (import "env" "proxy_increment_metric" (func $increment (param i32 i64) (result i32)))
        (import "env" "proxy_record_metric" (func $record (param i32 i64) (result i32)))
        (memory (export "memory") 2)
        (data (i32.const 16) "127.0.0.1:20000")
        (data (i32.const 48) "nobody")
        (data (i32.const 64) "source\00address")
        (data (i32.const 96) "a\0d\0ab")
        (data (i32.const 128) "{map}")
        (func $call (result i32)
            (call $http_call (i32.const 16) (i32.const 15) (i32.const 128) (i32.const {map_size})
                (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 50) (i32.const 8)))
        (func $answer (result i32)
            (call $reply (i32.const 403) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
                (i32.const 128) (i32.const {map_size}) (i32.const -1)))
        (func (export "_initialize"))
        {callbacks})"#,
        callbacks = callbacks.join("\n        ")
    )
}

/// What a module breaks while it is configured, serves a request with a body, and a second passes.
fn broken_by(planted: &str) -> Vec<Rule> {
    let mut kong = StrictKong::of(module(planted).as_bytes()).expect("a module");
    kong.open(&World::new()).unwrap();
    let filter = FilterSetup {
        name: "planted".into(),
        config: "{}".into(),
    };
    let _ = kong.configure(&[filter]);
    let _ = kong.send(vec![Request::post("/", "body")]);
    kong.wait(std::time::Duration::from_secs(1));
    let mut broken = kong.broken();
    broken.dedup();
    broken
}

const CALL: &str = "(drop (call $call))";
const TICKS: &str =
    ";; in proxy_on_configure\n (drop (call $tick (i32.const 100))) (i32.const 1)\n";

#[test]
fn a_module_that_does_nothing_wrong_breaks_nothing() {
    assert_eq!(broken_by(""), []);
    let waits = format!(";; in proxy_on_request_headers\n {CALL} (i32.const 1)\n");
    assert_eq!(broken_by(&waits), []);
    let denies = ";; in proxy_on_request_headers\n (drop (call $answer)) (i32.const 1)\n";
    assert_eq!(broken_by(denies), []);
    let polls = format!("{TICKS};; in proxy_on_tick\n {CALL}\n");
    assert_eq!(broken_by(&polls), []);
}

#[test]
fn a_callout_from_a_forbidden_callback() {
    for callback in [
        "proxy_on_vm_start",
        "proxy_on_configure",
        "proxy_on_response_headers",
        "proxy_on_response_body",
        "proxy_on_done",
    ] {
        let planted = format!(";; in {callback}\n {CALL} (i32.const 1)\n");
        assert_eq!(broken_by(&planted), [Rule::CalloutFromHere], "{callback}");
    }
    for callback in ["proxy_on_context_create", "proxy_on_log", "proxy_on_delete"] {
        let planted = format!(";; in {callback}\n {CALL}\n");
        assert_eq!(broken_by(&planted), [Rule::CalloutFromHere], "{callback}");
    }
    // At the end of another one only in the name of a request, here once.
    let chained = format!(
        "{TICKS};; in proxy_on_tick\n {CALL}\n;; in proxy_on_http_call_response\n {CALL}\n"
    );
    assert_eq!(broken_by(&chained), [Rule::CalloutFromHere]);
}

#[test]
fn a_callout_that_says_too_little() {
    let to_nobody = ";; in proxy_on_request_headers
        (drop (call $http_call (i32.const 48) (i32.const 6) (i32.const 128) (i32.const 64)
            (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 50) (i32.const 8))) (i32.const 1)\n";
    let without_headers = ";; in proxy_on_request_headers
        (drop (call $http_call (i32.const 16) (i32.const 15) (i32.const 0) (i32.const 4)
            (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 50) (i32.const 8))) (i32.const 1)\n";
    for planted in [to_nobody, without_headers] {
        assert_eq!(broken_by(planted), [Rule::CalloutMalformed]);
    }
}

#[test]
fn a_request_that_goes_on_while_its_callout_runs() {
    let planted = format!(";; in proxy_on_request_headers\n {CALL} (i32.const 0)\n");
    assert_eq!(broken_by(&planted), [Rule::CalloutThenContinue]);
}

#[test]
fn a_request_resumed_or_answered_from_a_tick() {
    for act in ["(call $continue (i32.const 0))", "(call $answer)"] {
        let planted = format!(
            "{TICKS};; in proxy_on_tick\n (drop (call $effective (i32.const 2))) (drop {act})\n"
        );
        assert_eq!(broken_by(&planted), [Rule::NotCurrent], "{act}");
    }
}

#[test]
fn a_second_tick_period_or_one_from_a_request() {
    let twice = ";; in proxy_on_configure
        (drop (call $tick (i32.const 100))) (drop (call $tick (i32.const 200))) (i32.const 1)\n";
    let in_request =
        ";; in proxy_on_request_headers\n (drop (call $tick (i32.const 100))) (i32.const 0)\n";
    for planted in [twice, in_request] {
        assert_eq!(broken_by(planted), [Rule::TickPeriod]);
    }
}

#[test]
fn a_request_that_is_held_for_ever() {
    let planted = ";; in proxy_on_request_headers\n (i32.const 1)\n";
    assert_eq!(broken_by(planted), [Rule::Held]);
}

#[test]
fn a_request_answered_twice_or_too_late() {
    let twice = ";; in proxy_on_request_headers\n (drop (call $answer)) (drop (call $answer)) (i32.const 1)\n";
    let late = ";; in proxy_on_response_headers\n (drop (call $answer)) (i32.const 0)\n";
    for planted in [twice, late] {
        assert_eq!(broken_by(planted), [Rule::Answer]);
    }
}

#[test]
fn headers_edited_at_the_wrong_time_or_with_line_ends() {
    let edit = |map: u32, value: u32, size: u32| {
        format!(
            "(drop (call $replace (i32.const {map}) (i32.const 48) (i32.const 6) (i32.const {value}) (i32.const {size})))"
        )
    };
    for (callback, map) in [
        ("proxy_on_response_headers", 0),
        ("proxy_on_request_headers", 2),
        ("proxy_on_response_body", 2),
    ] {
        let planted = format!(";; in {callback}\n {} (i32.const 0)\n", edit(map, 48, 6));
        assert_eq!(broken_by(&planted), [Rule::HeaderEdit], "{callback}");
    }
    let planted = format!(
        ";; in proxy_on_request_headers\n {} (i32.const 0)\n",
        edit(0, 96, 4)
    );
    assert_eq!(broken_by(&planted), [Rule::HeaderValue]);
}

#[test]
fn reads_of_what_is_not_there() {
    let request_headers = "(drop (call $pairs (i32.const 0) (i32.const 8) (i32.const 12)))";
    let answer_headers = "(drop (call $pairs (i32.const 6) (i32.const 8) (i32.const 12)))";
    let body = "(drop (call $buffer (i32.const 0) (i32.const 0) (i32.const 9) (i32.const 8) (i32.const 12)))";
    for planted in [
        format!(";; in proxy_on_response_headers\n {request_headers} (i32.const 0)\n"),
        format!("{TICKS};; in proxy_on_tick\n {request_headers}\n"),
        format!(";; in proxy_on_request_headers\n {answer_headers} (i32.const 0)\n"),
        format!(";; in proxy_on_request_headers\n {body} (i32.const 0)\n"),
        // Nobody listens there in an empty world's stead: the answer did not come.
        format!(
            ";; in proxy_on_request_headers\n {} (i32.const 1)\n;; in proxy_on_http_call_response\n {answer_headers}\n",
            CALL.replace("$call", "$http_call (i32.const 24) (i32.const 7) (i32.const 128) (i32.const 69)
                (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 50) (i32.const 8)")
        ),
    ] {
        assert_eq!(broken_by(&planted), [Rule::Read], "{planted}");
    }
}

#[test]
fn properties_and_functions_that_kong_does_not_have() {
    let property =
        "(drop (call $property (i32.const 64) (i32.const 14) (i32.const 8) (i32.const 12)))";
    let in_root = format!("{TICKS};; in proxy_on_tick\n {property}\n");
    assert_eq!(broken_by(&in_root), [Rule::Property]);
    let in_request = format!(";; in proxy_on_request_headers\n {property} (i32.const 0)\n");
    assert_eq!(broken_by(&in_request), []);
    let foreign = ";; in proxy_on_request_headers
        (drop (call $foreign (i32.const 48) (i32.const 6) (i32.const 0) (i32.const 0) (i32.const 8) (i32.const 12)))
        (i32.const 0)\n";
    assert_eq!(broken_by(foreign), [Rule::ForeignFunction]);
}

#[test]
fn metrics_moved_in_a_way_that_is_not_theirs() {
    let define = |kind: u32, size: u32| {
        format!(
            "(drop (call $define (i32.const {kind}) (i32.const 48) (i32.const {size}) (i32.const 8)))"
        )
    };
    let increment =
        |by: i64| format!("(drop (call $increment (i32.load (i32.const 8)) (i64.const {by})))");
    let record = "(drop (call $record (i32.load (i32.const 8)) (i64.const 7)))".to_owned();
    for (acts, broken) in [
        (define(0, 6) + &increment(1), false),
        (define(1, 6) + &record, false),
        (define(0, 6) + &increment(0), true),
        (define(0, 6) + &increment(-1), true),
        (define(0, 6) + &record, true),
        (define(1, 6) + &increment(1), true),
        (define(0, 300), true),
    ] {
        let planted = format!(";; in proxy_on_request_headers\n {acts} (i32.const 0)\n");
        let expected: &[Rule] = if broken { &[Rule::Metric] } else { &[] };
        assert_eq!(broken_by(&planted), expected, "{acts}");
    }
}

#[test]
fn a_trap_and_memory_that_is_not_there() {
    let trap = ";; in proxy_on_request_headers\n unreachable\n";
    assert_eq!(broken_by(trap), [Rule::Trap]);
    let memory = ";; in proxy_on_request_headers
        (drop (call $property (i32.const 131000) (i32.const 9000) (i32.const 8) (i32.const 12))) (i32.const 0)\n";
    assert_eq!(broken_by(memory), [Rule::Memory]);
}

#[test]
fn a_module_that_kong_would_not_load() {
    let whole = module("");
    for (what, from, to) in [
        ("no proxy_on_log", r#"(export "proxy_on_log")"#, ""),
        (
            "another signature",
            r#"(export "proxy_on_done") (param i32 )"#,
            r#"(export "proxy_on_done")"#,
        ),
        (
            "an unknown import",
            "proxy_continue_stream",
            "proxy_get_log_level",
        ),
    ] {
        let changed = whole.replacen(from, to, 1);
        assert_ne!(changed, whole, "{what}");
        let error = StrictKong::of(changed.as_bytes()).err().unwrap();
        assert!(error.starts_with("Load"), "{what}: {error}");
    }
}
