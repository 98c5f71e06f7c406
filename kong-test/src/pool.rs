//! Kongs that no case uses right now.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use testkit::workspace;

use crate::process::Kong;
use crate::source::Source;

/// The folder with the modules for Kong.
pub const ARTIFACTS: &str = "dist/kong";

static IDLE: Mutex<Vec<Kong>> = Mutex::new(Vec::new());

fn idle() -> MutexGuard<'static, Vec<Kong>> {
    IDLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A Kong with so many workers and all filters that have cases, as good as new; with their `.meta.json` or without.
///
/// # Errors
/// When there is none and none can be started.
pub fn take(source: &Source, workers: u32, meta: bool) -> Result<Kong, String> {
    let found = {
        let mut idle = idle();
        let at = idle
            .iter()
            .position(|kong| (kong.workers(), kong.meta()) == (workers, meta));
        at.map(|at| idle.swap_remove(at))
    };
    if let Some(kong) = found {
        return Ok(kong);
    }
    let mut modules = BTreeMap::new();
    for (filter, _) in workspace::case_files()? {
        modules.insert(filter.clone(), workspace::artifact(ARTIFACTS, &filter)?);
    }
    Kong::start(source, workers, &modules, meta)
}

/// A Kong in good order is kept for the next case. It is renewed at once: else its filters would go on asking
/// the services of the last one, whose ports may already be those of another.
///
/// # Errors
/// When Kong is out of order.
pub fn give_back(mut kong: Kong) -> Result<(), String> {
    if kong.renew()? {
        idle().push(kong);
    }
    Ok(())
}

/// Ends all that are idle.
pub fn end() {
    idle().clear();
}
