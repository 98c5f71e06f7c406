//! Holds the rate limits to their promise: real Envoys, real Redis, real load, real faults.
//!
//! `accuracy` measures how exact limits are (R7–R9, R17), `chaos` what every rule class answers while
//! something behind it is broken (R10, R16). Both run on the loopback interface, for a bounded time, and
//! print the tables of `docs/limits.md`. `demo-limits` is the second act of `make demo`: twenty seconds to watch.

// This crate is test code: a panic here is a failed test with a message, and that is its purpose.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::string_slice,
    reason = "a test that cannot go on fails"
)]

pub mod authority;
pub mod bound;
pub mod child;
pub mod control;
pub mod gateway;
pub mod load;
pub mod nats_server;
pub mod quotas;
pub mod redis_server;
pub mod report;
pub mod slow_link;
pub mod store_service;
pub mod table;
pub mod until;
