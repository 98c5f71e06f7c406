//! Under construction.

pub mod jwks;
pub mod jwt;
pub mod signature;
