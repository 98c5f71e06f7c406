//! Tests over whole stores and the whole service. Redis and TLS are real; `redis-server` must be installed.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod bucket_model;
mod chaos;
mod contract;
mod control;
mod control_client;
mod control_docs;
mod control_top;
mod edge_chaos;
mod edge_contract;
mod edge_replica;
mod edge_service;
mod nats_server;
mod page;
mod page_browser;
mod quota_contract;
mod quota_events;
mod redis_server;
mod scripts;
mod service;
mod traces;
mod upstream_failures;
