//! Starts the real Envoy with the built filters, on the loopback interface, and watches it.
//!
//! [`EnvoyGateway`] runs the same cases as `testkit::Drive`. Each has ports, a directory and a
//! process group of its own, which end with it.

// This crate is test code: a panic here is a failed test with a message, and that is its purpose.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::string_slice
)]

pub mod artifacts;
pub mod bootstrap;
pub mod gateway;
pub mod log;
pub mod process;
pub mod shipped;
pub mod stats;

pub use gateway::EnvoyGateway;
pub use process::Envoy;
