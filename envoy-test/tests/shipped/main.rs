//! What is shipped under `ops/`, as it stands but for ports, paths and names, in a real Envoy with real certificates.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod browsers;
mod chart;
mod client;
mod egress;
mod kubernetes;
mod pki;
mod rotation;
mod tls_upstream;
mod upstream_mtls;
