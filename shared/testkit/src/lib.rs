//! Runs policies and proves what they do.
//!
//! [`Drive`] runs one policy on a virtual clock, in this process, against a [`World`] of services
//! that can be made to fail. A `cases.toml` beside a filter holds its behaviour as data; the same
//! cases run through `Drive` and, by way of [`Gateway`], in real gateways.

// This crate is test code: a panic here is a failed test with a message, and that is its purpose.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::string_slice
)]

pub mod auth_service;
pub mod cases;
pub mod drive;
pub mod exchange;
pub mod fault;
pub mod gateway;
pub mod limit_service;
pub mod list_service;
pub mod meta;
pub mod mint;
pub mod native_crypto;
pub mod options;
pub mod ports;
pub mod problem;
pub mod request;
pub mod upstream;
pub mod workspace;
pub mod world;

#[cfg(feature = "gateway")]
pub mod http_client;
#[cfg(feature = "gateway")]
pub mod http_server;
#[cfg(feature = "gateway")]
pub mod long_list;
#[cfg(feature = "gateway")]
pub mod loopback;
#[cfg(feature = "strict")]
pub mod strict;

pub use auth_service::{ApiKey, AuthService, Endpoint};
pub use cases::cases_main;
pub use drive::{Drive, Flavour, Ticket};
pub use exchange::{Exchange, Seen};
pub use fault::Fault;
pub use gateway::Gateway;
pub use limit_service::LimitService;
pub use list_service::ListService;
pub use mint::{Alg, Key, Token};
pub use request::{Request, Tls};
pub use world::World;
