//! The built command, on real files.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::string_slice
)]

mod canary;
mod check_config;
mod command_line;
mod config_build;
mod drift;
mod edge;
mod gateways;
mod images;
mod lint;
mod release;
mod run;
mod schema;
mod verify_gateway;
