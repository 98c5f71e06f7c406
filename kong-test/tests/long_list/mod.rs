//! A long deny list in a real Kong.

use kong_test::{KongGateway, Source};
use testkit::gateway::Gateway as _;
use testkit::long_list::LongList;

const ENTRIES: u32 = 100_000;

/// Ten callouts of a root context, each from a tick: one out of the end of another would kill the worker.
pub fn ten_pages_come_whole(source: Source) -> Result<(), String> {
    let mut gateway = KongGateway::new(source, 1);
    let mut list = LongList::new(&mut gateway, ENTRIES)?;
    let came = list.fill()?;
    println!("{ENTRIES} entries: {came:?}");
    list.release_one()?;
    gateway.stop(&[])
}
