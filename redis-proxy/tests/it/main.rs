//! Tests over whole stores and the whole service. Redis and TLS are real; `redis-server` must be installed.
#![allow(
    clippy::arithmetic_side_effects,
    reason = "tests may overflow and fail"
)]

mod bucket_model;
mod contract;
mod redis_server;
mod scripts;
