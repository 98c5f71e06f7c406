//! The native service behind the filters: `redis-proxy`.
//!
//! Takes `POST /v1/limits/acquire` from the filters (R17) and keeps the tokens in memory, in Redis or in a
//! Redis Cluster; serves the tier table (R3), the adaptive factors (R19) and the quotas of tenants (Q1). See the README for endpoints and
//! configuration, [`wire::limits`] for what a limit promises.
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        reason = "tests may overflow and fail"
    )
)]

pub mod aimd;
pub mod breaker;
pub mod bucket;
pub mod config;
pub mod control;
pub mod edge;
pub mod fingerprints;
pub mod http;
pub mod key;
pub mod listener;
pub mod metrics;
pub mod nats;
pub mod page;
pub mod quota;
pub mod script;
pub mod secret;
pub mod server;
pub mod store;
pub mod tiers;
pub mod traces;
