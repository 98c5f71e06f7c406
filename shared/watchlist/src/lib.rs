//! What a worker holds of the lists that redis-proxy keeps (D2, D3, T2, A8).
//!
//! - [`Follower`] asks for a list on each tick, takes pages and hands their changes to a [`Sink`].
//! - [`Watchlist`] is the sink that looks clients up: by address, JA3 and JA4.
//! - [`Clients`] says whose request it is.
//!
//! A keeper with a list is three lines: `on_tick` pushes [`Follower::poll`], `on_answer` hands the answer to
//! [`Follower::take`]; `Watchlist::sweep` is called once per tick.

#![cfg_attr(test, allow(clippy::arithmetic_side_effects, clippy::string_slice))]

mod client;
mod follower;
mod seed;
mod service;
mod shelf;
mod sink;
mod stamp;
mod watchlist;

pub use client::{Client, Clients, RawClients};
pub use follower::{Followed, Follower, Unusable};
pub use service::RawListService;
pub use sink::Sink;
pub use watchlist::{DEFAULT_CAPACITY, Match, Watchlist};
