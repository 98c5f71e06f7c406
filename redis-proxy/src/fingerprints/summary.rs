//! Heavy hitters in bounded memory: Space-Saving (Metwally, Agrawal, El Abbadi 2005), weighted.

use std::collections::{BTreeSet, HashMap};

use wire::lists::Member;

/// One value that is kept track of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Which value.
    pub member: Member,
    /// Its weight, at most: what it has, and `error` that others may have left behind.
    pub most: u64,
    /// By how much `most` may be too great.
    pub error: u64,
    /// Additions that were certainly of this value: all of them when `error` is 0.
    pub seen: u64,
}

/// Counts additions per value, for at most `room` values at a time. A new value above that takes the place of
/// the lightest and inherits its weight as error. Then, of a total weight N,
/// - the weight of a value that is kept is within `most - error ..= most`, and `error` ≤ N / `room`;
/// - a value that is not kept has at most [`Self::lost`] ≤ N / `room`;
/// - as long as there were no more than `room` values, all is exact.
#[derive(Clone, Debug)]
pub struct Summary {
    room: usize,
    kept: HashMap<Member, Held>,
    lightest: BTreeSet<(u64, Member)>,
    evicted: bool,
    total: u64,
    additions: u64,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    most: u64,
    error: u64,
    seen: u64,
}

impl Summary {
    /// Nothing counted yet; 1 value of room at least.
    #[must_use]
    pub fn new(room: usize) -> Self {
        Self {
            room: room.max(1),
            kept: HashMap::new(),
            lightest: BTreeSet::new(),
            evicted: false,
            total: 0,
            additions: 0,
        }
    }

    /// Counts one addition of a weight.
    pub fn add(&mut self, member: Member, weight: u64) {
        self.total = self.total.saturating_add(weight);
        self.additions = self.additions.saturating_add(1);
        let held = match self.kept.get(&member) {
            Some(held) => {
                self.lightest.remove(&(held.most, member));
                *held
            }
            None => self.make_room(),
        };
        let held = Held {
            most: held.most.saturating_add(weight),
            error: held.error,
            seen: held.seen.saturating_add(1),
        };
        self.lightest.insert((held.most, member));
        self.kept.insert(member, held);
    }

    fn make_room(&mut self) -> Held {
        let mut inherited = 0;
        if self.kept.len() >= self.room
            && let Some((most, lightest)) = self.lightest.pop_first()
        {
            self.kept.remove(&lightest);
            self.evicted = true;
            inherited = most;
        }
        Held {
            most: inherited,
            error: inherited,
            seen: 0,
        }
    }

    /// Most weight that a value may have which is not kept.
    #[must_use]
    pub fn lost(&self) -> u64 {
        match self.lightest.first() {
            Some((most, _)) if self.evicted => *most,
            _ => 0,
        }
    }

    /// What has been counted, in a form that takes little memory and is only read.
    #[must_use]
    pub fn seal(&self) -> Sealed {
        let counted = |(member, held): (&Member, &Held)| Counted {
            member: *member,
            most: held.most,
            error: held.error,
            seen: held.seen,
        };
        Sealed {
            counted: self.kept.iter().map(counted).collect(),
            lost: self.lost(),
            total: self.total,
            additions: self.additions,
        }
    }
}

/// A [`Summary`] that has ended.
#[derive(Clone, Debug, Default)]
pub struct Sealed {
    counted: Box<[Counted]>,
    lost: u64,
    total: u64,
    additions: u64,
}

/// Several summaries as one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// Heaviest first; equal ones by value.
    pub counted: Vec<Counted>,
    /// Most weight that a value may have which is not in `counted`; no `error` is greater. 0: all is exact.
    pub lost: u64,
    /// All weight.
    pub total: u64,
    /// All additions.
    pub additions: u64,
}

impl Merged {
    /// Sums bounds: what holds for each summary holds for the whole.
    pub fn of<'a>(summaries: impl IntoIterator<Item = &'a Sealed>) -> Self {
        let mut all = Self::default();
        let mut sums: HashMap<Member, Sum> = HashMap::new();
        for summary in summaries {
            all.lost = all.lost.saturating_add(summary.lost);
            all.total = all.total.saturating_add(summary.total);
            all.additions = all.additions.saturating_add(summary.additions);
            for counted in &summary.counted {
                let sum = sums.entry(counted.member).or_default();
                sum.most = sum.most.saturating_add(counted.most);
                sum.error = sum.error.saturating_add(counted.error);
                sum.seen = sum.seen.saturating_add(counted.seen);
                sum.covered = sum.covered.saturating_add(summary.lost);
            }
        }
        let counted = |(member, sum): (Member, Sum)| {
            // The value may also have been in those summaries that did not keep it.
            let elsewhere = all.lost.saturating_sub(sum.covered);
            Counted {
                member,
                most: sum.most.saturating_add(elsewhere),
                error: sum.error.saturating_add(elsewhere),
                seen: sum.seen,
            }
        };
        all.counted = sums.into_iter().map(counted).collect();
        all.counted
            .sort_unstable_by_key(|counted| (std::cmp::Reverse(counted.most), counted.member));
        all
    }
}

#[derive(Default)]
struct Sum {
    most: u64,
    error: u64,
    seen: u64,
    /// What summaries that kept the value may have lost.
    covered: u64,
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use proptest::prelude::*;

    use super::*;

    fn member(n: u8) -> Member {
        Member::Ip(IpAddr::V4(Ipv4Addr::new(192, 0, 2, n)))
    }

    /// Who came by, exactly: value → weight and additions.
    fn exactly(parts: &[Vec<(u8, u32)>]) -> HashMap<Member, (u64, u64)> {
        let mut exact = HashMap::new();
        for (n, weight) in parts.iter().flatten() {
            let (sum, times) = exact.entry(member(*n)).or_insert((0, 0));
            *sum += u64::from(*weight);
            *times += 1;
        }
        exact
    }

    fn merged(room: usize, parts: &[Vec<(u8, u32)>]) -> Merged {
        let sealed: Vec<_> = parts
            .iter()
            .map(|part| {
                let mut summary = Summary::new(room);
                for (n, weight) in part {
                    summary.add(member(*n), u64::from(*weight));
                }
                assert!(summary.kept.len() <= room);
                assert_eq!(summary.kept.len(), summary.lightest.len());
                summary.seal()
            })
            .collect();
        Merged::of(&sealed)
    }

    /// Some values often, many rarely: as fingerprints are.
    fn values(distinct: u8) -> impl Strategy<Value = Vec<Vec<(u8, u32)>>> {
        let value = prop_oneof![0..4_u8, 0..distinct];
        proptest::collection::vec(proptest::collection::vec((value, 1..100_u32), 0..120), 0..6)
    }

    proptest! {
        #[test]
        fn every_bound_holds(parts in values(60), room in 1..40_usize) {
            let exact = exactly(&parts);
            let merged = merged(room, &parts);
            let weight: u64 = exact.values().map(|(weight, _)| weight).sum();
            prop_assert_eq!(merged.total, weight);
            prop_assert_eq!(merged.additions, exact.values().map(|(_, times)| times).sum::<u64>());
            prop_assert!(merged.lost <= weight / room as u64, "{} of {weight}", merged.lost);
            for counted in &merged.counted {
                let (weight, times) = exact[&counted.member];
                prop_assert!(counted.most >= weight && counted.most - counted.error <= weight, "{counted:?} {weight}");
                prop_assert!(counted.seen <= times);
                prop_assert!(counted.error <= merged.lost, "{counted:?}, lost {}", merged.lost);
            }
            for (member, (weight, _)) in &exact {
                if *weight > merged.lost {
                    prop_assert!(merged.counted.iter().any(|c| c.member == *member), "{member} is heavy and missing");
                }
            }
        }

        #[test]
        fn with_room_for_all_values_everything_is_exact_and_in_order(parts in values(40)) {
            let mut expected: Vec<_> = exactly(&parts)
                .into_iter()
                .map(|(member, (most, seen))| Counted { member, most, error: 0, seen })
                .collect();
            expected.sort_by_key(|c| (std::cmp::Reverse(c.most), c.member));
            let merged = merged(40, &parts);
            prop_assert_eq!(merged.counted, expected);
            prop_assert_eq!(merged.lost, 0);
        }
    }

    #[test]
    fn a_heavy_value_stays_while_a_flood_of_others_passes() {
        let mut summary = Summary::new(10);
        for n in 0..=255 {
            summary.add(member(n), 1);
            summary.add(member(7), 1);
        }
        let merged = Merged::of([&summary.seal()]);
        let heavy = merged.counted.first().unwrap();
        assert_eq!(heavy.member, member(7));
        assert!((257..=257 + 51).contains(&heavy.most), "{heavy:?}");
        assert!(merged.lost <= 512 / 10, "{}", merged.lost);
    }

    #[test]
    fn a_counter_takes_as_little_as_is_said() {
        assert!(size_of::<Counted>() <= 64, "{}", size_of::<Counted>());
    }
}
