//! What the filters and the services behind them say to each other. Serde types only: no I/O,
//! no logic beyond what both sides must agree on.

pub mod api_keys;
pub mod limits;
pub mod lists;
pub mod load;
pub mod quota;
pub mod samples;
pub mod sleep;
pub mod tiers;
pub mod upstream_failures;
