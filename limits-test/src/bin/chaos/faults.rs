//! What can break.

use std::time::Duration;

use limits_test::authority::Signer;

use crate::site::{Clustered, Single, Site};

/// Something that breaks and is mended.
pub struct Fault {
    pub name: &'static str,
    pub site: fn() -> Result<Box<dyn Site>, String>,
    pub strike: fn(&mut dyn Site),
    /// Nothing to do where the fault mends itself.
    pub mend: fn(&mut dyn Site),
    /// From the strike on, so long for everything to notice.
    pub noticed: Duration,
    /// From the strike on, so long it surely lasts.
    pub lasts: Duration,
    /// Whether limits cannot be known meanwhile.
    pub blinds: bool,
}

const NOTICED: Duration = Duration::from_millis(700);
const LASTS: Duration = Duration::from_millis(3_500);

/// A fault of a single Redis, its link or the redis-proxy.
const fn fault(name: &'static str, strike: fn(&mut dyn Site), mend: fn(&mut dyn Site)) -> Fault {
    Fault {
        name,
        site: Single::start,
        strike,
        mend,
        noticed: NOTICED,
        lasts: LASTS,
        blinds: true,
    }
}

const WRONG: &str = "another horse";

pub static ALL: [Fault; 9] = [
    Fault {
        blinds: false,
        ..fault("none", |_| {}, |_| {})
    },
    fault(
        "Redis killed",
        |site| single(site).redis.kill(),
        |site| single(site).redis.restart(),
    ),
    fault(
        "Redis stopped (SIGSTOP)",
        |site| single(site).redis.freeze(),
        |site| single(site).redis.thaw(),
    ),
    fault(
        "wrong password",
        |site| {
            single(site)
                .redis
                .change_password(limits_test::redis_server::PASSWORD, WRONG)
        },
        |site| {
            single(site)
                .redis
                .change_password(WRONG, limits_test::redis_server::PASSWORD)
        },
    ),
    Fault {
        site: Single::start_tls,
        ..fault(
            "certificate of another authority (TLS)",
            |site| single(site).redis.change_certificate(Signer::Stranger),
            |site| single(site).redis.change_certificate(Signer::Trusted),
        )
    },
    fault(
        "Redis slow (300 ms each way)",
        |site| single(site).link.delay(Duration::from_millis(300)),
        |site| single(site).link.delay(Duration::ZERO),
    ),
    fault(
        "redis-proxy killed",
        |site| site.proxy().kill(),
        |site| site.proxy().restart(),
    ),
    fault(
        "redis-proxy stopped (SIGSTOP)",
        |site| site.proxy().freeze(),
        |site| site.proxy().thaw(),
    ),
    Fault {
        site: Clustered::start,
        // A replica does not stand for election before the node timeout of 1.5 s.
        lasts: Duration::from_millis(1_500),
        ..fault("Cluster primary killed under load", kill_primary, |_| {})
    },
];

/// A planted break: limits are off, and the fault that is told never strikes. The matrix must say so.
pub static PLANTED: Fault = Fault {
    site: Single::start_unlimited,
    lasts: Duration::from_millis(1_500),
    ..fault("planted: limits off", |_| {}, |_| {})
};

fn single(site: &mut dyn Site) -> &mut Single {
    site.single().expect("a site with one Redis")
}

fn kill_primary(site: &mut dyn Site) {
    let site = site.cluster().expect("a site with a cluster");
    let victim = site.victim;
    site.cluster.node(victim).kill();
}
