//! A fold that somebody watches: dry runs, replays of decisions and explanations see every step go by.

use super::feed::fold_entry;
use super::log::settle;
use super::{Changes, Pace, start, step_timers};
use crate::event::Entry;
use crate::ids::{Millis, ProfileId};
use crate::plan::Plan;
use crate::profile::Profile;

/// Sees a fold go by. What it is shown is the scratch profile as of that step.
pub trait Watch {
    /// Whether there is anything to see; a fold that nobody watches takes timers in one go.
    const SEES: bool = true;

    /// `entry` is about to be taken in; what was due before it has fired.
    fn before(&mut self, _plan: &Plan, _profile: &Profile, _entry: &Entry) {}

    /// Something was taken in: an entry, or (`None`) what was due at one instant, which is the profile's
    /// clock. Membership changes carry the instant too.
    fn after(&mut self, _plan: &Plan, _profile: &Profile, _entry: Option<&Entry>, _changes: &Changes) {}

    /// An instant at which the watcher wants to look again although nothing of the profile is due.
    fn deadline(&self) -> Millis {
        Millis::MAX
    }
}

/// Nobody.
pub(super) struct Unseen;

impl Watch for Unseen {
    const SEES: bool = false;
}

/// As [`super::fold`], watched.
pub fn fold_watched<W: Watch>(plan: &Plan, id: ProfileId, entries: &[Entry], now: Millis, watch: &mut W) -> Profile {
    let born_at = entries.iter().map(|e| e.at).min().unwrap_or(now);
    let first = entries.first().map_or(now, |e| e.moment.t.min(e.at));
    let mut scratch = Profile::new(id, born_at, 0);
    let mut changes = Changes::default();
    start(plan, &mut scratch, first, true, &mut changes);
    watch.after(plan, &scratch, None, &changes);
    for entry in entries {
        // In the fold an entry takes effect at its event time: that is what "had come in order" means.
        let in_order = Entry { at: entry.moment.t, ..entry.clone() };
        pass(plan, &mut scratch, in_order.moment.t, watch);
        scratch.core.clock = scratch.core.clock.max(in_order.moment.t);
        watch.before(plan, &scratch, entry);
        let mut changes = Changes::default();
        fold_entry(plan, &mut scratch, &in_order, &mut changes, None);
        scratch.core.applied = scratch.core.applied.max(entry.moment.seq);
        scratch.core.updated_at = scratch.core.updated_at.max(entry.at);
        watch.after(plan, &scratch, Some(entry), &changes);
    }
    pass(plan, &mut scratch, now, watch);
    scratch.core.clock = now;
    settle(plan, &mut scratch);
    scratch
}

/// Lets time pass: what is due takes effect at its own instant.
fn pass<W: Watch>(plan: &Plan, scratch: &mut Profile, to: Millis, watch: &mut W) {
    if !W::SEES {
        step_timers(plan, scratch, to, Pace::Folding, &mut Changes::default());
        return;
    }
    loop {
        let due = scratch.deadline().min(watch.deadline());
        if due > to || due == Millis::MAX {
            return;
        }
        let mut changes = Changes::default();
        step_timers(plan, scratch, due, Pace::Folding, &mut changes);
        scratch.core.clock = scratch.core.clock.max(due);
        watch.after(plan, scratch, None, &changes);
    }
}
