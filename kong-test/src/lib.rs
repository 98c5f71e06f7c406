//! Starts a real Kong with the built filters, on the loopback interface, and watches it.
//!
//! [`KongGateway`] runs the same cases as `testkit::Drive`. Starting Kong takes seconds, so the cases
//! of one process share it; each gets workers of its own, with nothing left in their memory.

// This crate is test code: a panic here is a failed test with a message, and that is its purpose.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::string_slice
)]

pub mod document;
pub mod gateway;
pub mod log;
pub mod metrics;
pub mod parity;
pub mod pool;
pub mod process;
pub mod source;

pub use gateway::KongGateway;
pub use process::Kong;
pub use source::Source;
