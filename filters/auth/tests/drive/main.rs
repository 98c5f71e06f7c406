//! What the filter does over time and under attack, on a virtual clock. What takes a second or less is
//! in `cases.toml`, for real gateways too.

#![cfg(not(target_arch = "wasm32"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::string_slice
)]

mod api_keys;
mod configuration;
mod failures;
mod hostile;
mod key_sets;
mod revocations;
mod stage;
mod times;
mod vectors;
