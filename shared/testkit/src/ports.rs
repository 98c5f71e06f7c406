//! Ports for processes that have to be told where to listen.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the ephemeral ports, so that no outgoing connection takes one.
const FIRST: u16 = 10_200;
/// How many a process has for itself.
const BLOCK: u16 = 80;
/// How many processes can have a block at a time. The ports of the last one end where those begin on which the nodes
/// of a Redis Cluster listen beside their own.
const BLOCKS: u16 = 125;
/// A node of a Redis Cluster listens on its port and on this much above it.
const CLUSTER_BUS: u16 = 10_000;

fn listen(port: u16) -> Option<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()
}

/// A port nobody listens on, nor on the one 10,000 above it, and that no other process gets from here while this one
/// runs. Tests run in many processes at a time, and a server that is killed and started again needs its port again.
///
/// # Panics
/// When more than 125 processes ask at a time.
#[must_use]
pub fn free_port() -> u16 {
    // A block is this process's while it listens on the first port of it.
    static OWN: OnceLock<(TcpListener, u16)> = OnceLock::new();
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let (_, first) = OWN.get_or_init(|| {
        let start = std::process::id() % u32::from(BLOCKS);
        let start = u16::try_from(start).expect("less than the blocks");
        (0..BLOCKS)
            .map(|n| FIRST + (start + n) % BLOCKS * BLOCK)
            .find_map(|first| Some((listen(first)?, first)))
            .expect("a block of ports that no other process has")
    });
    loop {
        let port = first + 1 + NEXT.fetch_add(1, Ordering::Relaxed) % (BLOCK - 1);
        if listen(port).is_some() && listen(port + CLUSTER_BUS).is_some() {
            return port;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_port_is_given_to_two() {
        let ports: BTreeSet<u16> = (1..BLOCK).map(|_| free_port()).collect();
        assert_eq!(ports.len(), usize::from(BLOCK - 1));
        let first = ports.first().unwrap() - 1;
        assert!(listen(first).is_none(), "the block is taken");
        let blocks: BTreeSet<u16> = ports.iter().map(|port| (port - FIRST) / BLOCK).collect();
        assert_eq!(blocks.len(), 1, "{ports:?}");
        let last = FIRST + BLOCKS * BLOCK;
        assert!(*ports.last().unwrap() < last && last <= FIRST + CLUSTER_BUS);
        // One that is in use is passed over.
        let held = free_port();
        let listener = listen(held).unwrap();
        assert!((0..2 * BLOCK).all(|_| free_port() != held));
        drop(listener);
    }
}
