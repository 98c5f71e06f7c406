//! What it costs to ask the gateway: filters that do nothing but one call, again and again, and rows of filters that
//! have one callback more than the empty one.

use std::fmt::Write as _;
use std::path::Path;

use crate::report::Measured;
use crate::sample::Spread;
use crate::variant::{self, Asks, End, Host, New, Variant};

/// Calls of one request: so many that what one costs stands out from what a request costs.
const TIMES: u32 = 100;
/// Filters in a row, where a callback is measured: each is called back once for a request.
const FILTERS: u32 = 8;

/// What every call is compared with.
const NOTHING: &str = "nothing";
/// What every callback is compared with.
const NOTHING_IN_A_ROW: &str = "nothing, eight filters";

/// A call of the gateway, or a callback from it.
struct Crossing {
    name: &'static str,
    /// What it is compared with.
    base: &'static str,
    /// How often a filter calls for a request.
    times: u32,
    filters: u32,
    /// The imports and exports it needs.
    declares: &'static str,
    /// The call as text, its status left on the stack; empty for a callback.
    call: &'static str,
}

const fn call(name: &'static str, declares: &'static str, call: &'static str) -> Crossing {
    Crossing {
        name,
        base: NOTHING,
        times: TIMES,
        filters: 1,
        declares,
        call,
    }
}

const fn callback(name: &'static str, declares: &'static str) -> Crossing {
    Crossing {
        name,
        base: NOTHING_IN_A_ROW,
        times: 1,
        filters: FILTERS,
        declares,
        call: "",
    }
}

/// Texts that calls point at: offset 0 `x-request-id`, 16 `x-not-there`, 32 `source` and `address`, 64 the name
/// of a counter; results go to 128 and beyond.
const TEXTS: &str = r#"(data (i32.const 0) "x-request-id") (data (i32.const 16) "x-not-there")
  (data (i32.const 32) "source\00address") (data (i32.const 64) "crossings")"#;

const CROSSINGS: &[Crossing] = &[
    Crossing {
        filters: 1,
        ..callback(NOTHING, "")
    },
    callback(NOTHING_IN_A_ROW, ""),
    call(
        "the time",
        r#"(import "env" "proxy_get_current_time_nanoseconds" (func $call (param i32) (result i32)))"#,
        "(call $call (i32.const 128))",
    ),
    call(
        "all request headers",
        r#"(import "env" "proxy_get_header_map_pairs" (func $call (param i32 i32 i32) (result i32)))"#,
        "(call $call (i32.const 0) (i32.const 128) (i32.const 132))",
    ),
    call(
        "one request header",
        r#"(import "env" "proxy_get_header_map_value" (func $call (param i32 i32 i32 i32 i32) (result i32)))"#,
        "(call $call (i32.const 0) (i32.const 0) (i32.const 12) (i32.const 128) (i32.const 132))",
    ),
    call(
        "a request header set",
        r#"(import "env" "proxy_replace_header_map_value" (func $call (param i32 i32 i32 i32 i32) (result i32)))"#,
        "(call $call (i32.const 0) (i32.const 0) (i32.const 12) (i32.const 0) (i32.const 12))",
    ),
    call(
        "a request header removed that is not there",
        r#"(import "env" "proxy_remove_header_map_value" (func $call (param i32 i32 i32) (result i32)))"#,
        "(call $call (i32.const 0) (i32.const 16) (i32.const 11))",
    ),
    call(
        "a property, the peer's address",
        r#"(import "env" "proxy_get_property" (func $call (param i32 i32 i32 i32) (result i32)))"#,
        "(call $call (i32.const 32) (i32.const 14) (i32.const 128) (i32.const 132))",
    ),
    call(
        "a counter",
        r#"(import "env" "proxy_define_metric" (func $define (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_increment_metric" (func $call (param i32 i64) (result i32)))
  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    (drop (call $define (i32.const 0) (i32.const 64) (i32.const 9) (i32.const 160))) (i32.const 1))"#,
        "(call $call (i32.load (i32.const 160)) (i64.const 1))",
    ),
    callback(
        "the response's headers, as a callback",
        r#"(func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32) (i32.const 0))"#,
    ),
    callback(
        "the request's end, as a callback",
        r#"(func (export "proxy_on_delete") (param i32))"#,
    ),
];

impl Crossing {
    fn is_base(&self) -> bool {
        [NOTHING, NOTHING_IN_A_ROW].contains(&self.name)
    }

    /// The module, as text. Imports come before everything else.
    fn module(&self) -> String {
        let (imports, rest): (Vec<&str>, Vec<&str>) =
            (self.declares.lines()).partition(|line| line.trim_start().starts_with("(import"));
        let work = if self.call.is_empty() {
            String::new()
        } else {
            format!(
                "(local $n i32) (local.set $n (i32.const {})) (loop $again (drop {})
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))",
                self.times, self.call
            )
        };
        format!(
            r#"(module {imports}
  (memory (export "memory") 1) {TEXTS}
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 1024))
  (func (export "proxy_on_context_create") (param i32 i32))
  {rest}
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) {work} (i32.const 0)))"#,
            imports = imports.join("\n  "),
            rest = rest.join("\n  "),
        )
    }
}

/// A gateway for each, its module written to a folder.
///
/// # Errors
/// When one cannot be written.
pub fn all(folder: &Path) -> Result<Vec<Variant>, String> {
    CROSSINGS
        .iter()
        .enumerate()
        .map(|(index, crossing)| {
            let path = folder.join(format!("crossing_{index}.wasm"));
            let module = wat::parse_str(crossing.module()).map_err(|e| e.to_string())?;
            std::fs::write(&path, module).map_err(|e| e.to_string())?;
            let filter = |at| {
                let name = format!("crossing_{index}_{at}");
                variant::wasm(&name, &path, &serde_json::json!({}))
            };
            Ok(Variant {
                name: crossing.name,
                what: "",
                host: Host::Envoy {
                    filters: (0..crossing.filters).map(filter).collect(),
                    end: End::Route,
                },
                new: New::Nothing,
                asks: Asks::Nobody,
                denies: false,
            })
        })
        .collect()
}

/// What one of each costs, the dearest first, as docs/benchmarks.md has it.
pub fn table(measured: &Measured) -> String {
    let mut costs: Vec<(&str, Spread)> = (CROSSINGS.iter())
        .filter(|crossing| !crossing.is_base())
        .filter_map(|crossing| {
            let over = measured.over(crossing.name, crossing.base)?;
            let each = |value: f64| value / f64::from(crossing.times * crossing.filters);
            let Spread { median, low, high } = over;
            let each = Spread {
                median: each(median),
                low: each(low),
                high: each(high),
            };
            Some((crossing.name, each))
        })
        .collect();
    costs.sort_by(|(_, a), (_, b)| b.median.total_cmp(&a.median));
    let mut out = String::from("| crossing | CPU µs each |\n|---|---:|\n");
    for (name, Spread { median, low, high }) in costs {
        let _ = writeln!(out, "| {name} | {median:.2} ({low:.2}…{high:.2}) |");
    }
    out
}
