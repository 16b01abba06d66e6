//! What everybody had reacted, as of any position of the log.

use crate::action::{Cap, Group, Totals};
use crate::event::Reacted;
use crate::expr::Truth;
use crate::ids::{ActionSlot, Millis, Moment, Seq};
use crate::plan::Plan;
use std::collections::HashMap;

/// One total cap of an action with every reaction that it counts, in the order of the log.
#[derive(Debug)]
struct Counted {
    cap: Cap,
    at: Vec<(Seq, Millis)>,
}

/// The reactions that total caps count, for as long as there is a log. Size: 16 B per reaction and cap that
/// counts it.
#[derive(Debug, Default)]
pub struct PastTotals {
    actions: HashMap<ActionSlot, Vec<Counted>>,
}

/// How far the past had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upto {
    /// Everything before this log position.
    Seq(Seq),
    /// Everything that had happened by this instant.
    Time(Millis),
}

impl PastTotals {
    /// The totals of `log`, which may come in any order and tell of a reaction twice. Reactions to actions
    /// without total caps are not needed; those of test users do not count.
    #[must_use]
    pub fn new(plan: &Plan, mut log: Vec<(Moment, Reacted)>) -> Self {
        log.sort_by_key(|(moment, _)| moment.seq);
        log.dedup_by_key(|(moment, _)| moment.seq);
        let mut actions: HashMap<ActionSlot, Vec<Counted>> = HashMap::new();
        for action in plan.actions.iter().flatten().filter(|action| action.def.has_total_caps()) {
            let caps = action.def.caps.iter().filter(|cap| cap.group == Group::All);
            actions.insert(action.slot, caps.map(|cap| Counted { cap: cap.clone(), at: Vec::new() }).collect());
        }
        for (moment, reacted) in log.iter().filter(|(_, reacted)| !reacted.test) {
            let caps = actions.get_mut(&reacted.action).into_iter().flatten();
            for counted in caps.filter(|counted| counted.cap.counts(reacted.reaction, reacted.channel)) {
                counted.at.push((moment.seq, moment.t));
            }
        }
        Self { actions }
    }

    /// The totals as they were.
    #[must_use]
    pub fn upto(&self, upto: Upto) -> AsOf<'_> {
        AsOf { past: self, upto }
    }
}

/// [`PastTotals`] as they were at one moment. What was reserved then is not known: a reaction under way.
#[derive(Clone, Copy, Debug)]
pub struct AsOf<'a> {
    past: &'a PastTotals,
    upto: Upto,
}

impl AsOf<'_> {
    /// What `cap` had counted, oldest first.
    fn counted(&self, action: ActionSlot, cap: &Cap) -> &[(Seq, Millis)] {
        let caps = self.past.actions.get(&action).map_or(&[][..], Vec::as_slice);
        let Some(counted) = caps.iter().find(|counted| counted.cap == *cap) else { return &[] };
        let known = match self.upto {
            Upto::Seq(before) => counted.at.partition_point(|(seq, _)| *seq < before),
            // Times of a log are in order but for what two threads did in one millisecond.
            Upto::Time(t) => counted.at.partition_point(|(_, at)| *at <= t),
        };
        &counted.at[..known]
    }
}

impl Totals for AsOf<'_> {
    fn open(&self, action: ActionSlot, cap: &Cap, now: Millis) -> Truth {
        let counted = self.counted(action, cap);
        // The cap blocks for as long as the one that fills it counts: the `count`-th newest.
        let filling = usize::try_from(cap.count).ok().and_then(|count| counted.len().checked_sub(count));
        match (filling, cap.within_ms) {
            (None, _) => Truth::forever(true),
            (Some(_), None) => Truth::forever(false),
            (Some(_), Some(_)) if cap.count == 0 => Truth::forever(false),
            (Some(place), Some(within_ms)) => {
                let opens = counted[place].1.plus(within_ms);
                if opens > now { Truth { holds: false, until: opens } } else { Truth::forever(true) }
            }
        }
    }

    fn used(&self, action: ActionSlot, cap: &Cap, now: Millis) -> u64 {
        let young = |(_, t): &&(Seq, Millis)| cap.within_ms.is_none_or(|within_ms| t.plus(within_ms) > now);
        self.counted(action, cap).iter().filter(young).count() as u64
    }
}
