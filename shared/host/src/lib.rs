//! Runs a [`policy::Policy`] in a gateway that speaks Proxy-Wasm ABI 0.2.1.
//!
//! The only place that knows the ABI (`abi.rs`) and the only place that knows in what the gateways
//! differ (`gateway.rs`). It exists on `wasm32-wasip1` alone: everywhere else this crate is empty.
//!
//! The ABI's callbacks are exported by [`main!`], which takes the policy and the callbacks that it
//! needs; nothing else is exported. See `docs/adr/0001-own-abi-adapter.md` for why this is not the
//! dispatcher of the `proxy-wasm` crate.
#![cfg(all(target_arch = "wasm32", target_os = "wasi"))]

mod abi;
mod answer;
mod clock;
mod crypto;
mod export;
mod facts;
mod gateway;
mod meters;
mod root;
mod stream;
mod timer;
mod vm;

pub use export::allocate;
pub use policy::Phases;
pub use vm::Vm;
