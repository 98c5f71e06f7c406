//! The native service behind the filters.

pub mod bucket;
