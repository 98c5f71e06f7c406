//! What a policy is handed with every event.

use crate::Policy;
use crate::effects::Effects;
use crate::head::Head;
use crate::host::Host;
use crate::time::Time;

/// Everything a policy may read, and the sink for what it causes.
pub struct Cx<'a, P: Policy> {
    pub config: &'a P::Config,
    pub keeper: &'a mut P::Keeper,
    /// The request as the gateway handed it over, before anybody's edits.
    pub request: &'a Head,
    pub now: Time,
    pub host: &'a dyn Host,
    pub effects: &'a mut Effects<P::Metric>,
}
