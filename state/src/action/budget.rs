//! Frequency budgets: a cap over several actions, and quiet hours.
//!
//! A budget governs every action that has one of its tags, or that stands in its slot, or simply every
//! action. In its channels (none named: all) it counts one kind of reaction of one person to any of them,
//! and holds all of them back while that is enough; or it holds them back while it is quiet.
//!
//! What counts is in the log, so the tally is a part of the fold: [`CapState`], the same as for caps. A
//! delivery counts from the push on, which is before the log has it: until then it is a place held, see
//! [`super::TotalCaps`].
//!
//! Quiet hours are about disturbing people: they keep actions from coming up and take them back, and
//! refuse nobody a reaction.

use super::capping::{Cap, CapState, Group};
use super::channel_list;
use super::json::{Node, field_issue};
use super::parts;
use super::targeting::{Reason, View};
use super::time_range::TimeRange;
use crate::event::{Reacted, Reaction};
use crate::expr::{Resolve, Truth};
use crate::ids::{BudgetSlot, ChannelSlot, Millis};
use crate::issue::Issue;
use crate::time::Zone;
use compact_str::CompactString;
use serde_json::Value as Json;
use smallvec::SmallVec;

/// When places were taken that the log does not have yet.
pub type Held = SmallVec<[Millis; 2]>;

/// Which actions a budget governs.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Scope {
    All,
    /// Those with any of these tags.
    Tags(Box<[CompactString]>),
    /// Those in this slot.
    Slot(CompactString),
}

/// A compiled budget.
#[derive(Clone, Debug, PartialEq)]
pub struct BudgetDef {
    scope: Scope,
    channels: Box<[ChannelSlot]>,
    limit: Option<Cap>,
    quiet: Option<TimeRange>,
}

/// A budget that governs an action, and what one person has spent of it.
#[derive(Clone, Debug)]
pub struct Spending<'a> {
    /// Which budget.
    pub slot: BudgetSlot,
    /// Its name, for people.
    pub name: &'a str,
    /// What it allows.
    pub def: &'a BudgetDef,
    /// What the log says; `None` for nothing.
    pub spent: Option<&'a CapState>,
}

impl BudgetDef {
    /// Reads `{"tags" | "slot", "channels", "event", "count", "within", "withinUnit", "quietHours"}`.
    /// `pointer` is where it stands in its document.
    ///
    /// # Errors
    /// `None`, with everything that is wrong pushed to `issues`.
    pub fn compile(json: &Json, resolve: &dyn Resolve, zone: &Zone, pointer: &str, issues: &mut Vec<Issue>) -> Option<Self> {
        let before = issues.len();
        let node = Node::new(json, pointer);
        let tags = node.texts("tags", issues);
        let slot = node.text("slot", issues).filter(|slot| !slot.is_empty());
        let scope = match (slot, tags.is_empty()) {
            (Some(_), false) => {
                issues.push(field_issue(&node, "slot", "a budget is for tags or for a slot, not for both"));
                Scope::All
            }
            (Some(slot), true) => Scope::Slot(slot.into()),
            (None, false) => Scope::Tags(tags.into_iter().map(Into::into).collect()),
            (None, true) => Scope::All,
        };
        let limited = ["event", "count", "within", "withinUnit"].into_iter().any(|field| node.get(field).is_some());
        let limit = if limited { parts::limit(&node, Some(Group::User), resolve, issues) } else { None };
        let quiet = node.object("quietHours", issues).map(|quiet| TimeRange::daily_hours(&quiet, zone, issues));
        if !limited && node.get("quietHours").is_none() {
            issues.push(node.issue("a budget has an event with a count, or quietHours, or both"));
        }
        // With a limit the list has been read, and its problems told, as the limit's.
        let mut again = Vec::new();
        let channels = channel_list(&node, resolve, if limited { &mut again } else { issues }).into();
        (issues.len() == before).then_some(Self { scope, channels, limit, quiet })
    }

    /// Whether it governs an action with these tags in this slot.
    #[must_use]
    pub fn governs<'t>(&self, mut tags: impl Iterator<Item = &'t str>, slot: Option<&str>) -> bool {
        match &self.scope {
            Scope::All => true,
            Scope::Tags(wanted) => tags.any(|tag| wanted.iter().any(|other| other == tag)),
            Scope::Slot(wanted) => slot == Some(wanted.as_str()),
        }
    }

    /// Whether it governs every action there is and will be.
    #[must_use]
    pub fn governs_all(&self) -> bool {
        self.scope == Scope::All
    }

    /// Whether it holds anything back in `channel`.
    #[must_use]
    pub fn applies(&self, channel: ChannelSlot) -> bool {
        self.channels.is_empty() || self.channels.contains(&channel)
    }

    /// What it allows, as a cap of one person; `None` if it only keeps quiet hours.
    #[must_use]
    pub fn limit(&self) -> Option<&Cap> {
        self.limit.as_ref()
    }

    /// The limit, if a reaction of this kind and place takes a place in it.
    #[must_use]
    pub fn limit_on(&self, reaction: Reaction, channel: ChannelSlot) -> Option<&Cap> {
        self.limit.as_ref().filter(|limit| limit.counts(reaction, channel))
    }

    /// Whether it is quiet now, and until when that stands.
    #[must_use]
    pub fn quiet(&self, now: Millis) -> Truth {
        self.quiet.as_ref().map_or(Truth::forever(false), |quiet| quiet.eval(now))
    }

    /// Counts a logged reaction to an action that it governs. Returns whether that used it up.
    pub fn spend(&self, state: &mut CapState, reacted: &Reacted, t: Millis) -> bool {
        !reacted.test && self.count(state, reacted.reaction, reacted.channel, t)
    }

    /// Counts a reaction of this kind and place. Returns whether that used the limit up.
    pub fn count(&self, state: &mut CapState, reaction: Reaction, channel: ChannelSlot, t: Millis) -> bool {
        let Some(limit) = self.limit_on(reaction, channel) else { return false };
        let open = state.open(limit, t, 0).holds;
        state.record(std::slice::from_ref(limit), Group::User, reaction, channel, t);
        open && !state.open(limit, t, 0).holds
    }
}

impl Spending<'_> {
    /// Why it holds an action back, and until when; or how long it stands that it does not. `only` and
    /// `holding` are as in [`super::ActionDef::decide`]: a reaction is asked for limits on its kind alone.
    pub(super) fn ask(&self, view: &View<'_>, only: Option<Reaction>, holding: bool) -> (Option<Reason>, Millis) {
        if !self.def.applies(view.channel) {
            return (None, Millis::MAX);
        }
        let mut blocked = (None, Millis::MIN);
        let asked = |limit: &&Cap| {
            only.is_none_or(|reaction| reaction == limit.reaction) && !(holding && limit.reaction == Reaction::Delivered)
        };
        if let Some(limit) = self.def.limit().filter(asked) {
            let open = self.open(limit, &self.pushed(limit, view), view.now);
            if !open.holds {
                blocked = (Some(Reason::Budget(self.slot)), open.until);
            }
        }
        if only.is_some() {
            return if blocked.0.is_some() { blocked } else { (None, Millis::MAX) };
        }
        let quiet = self.def.quiet(view.now);
        match (blocked, quiet.holds) {
            ((None, _), true) => (Some(Reason::QuietHours(self.slot)), quiet.until),
            ((None, _), false) => (None, quiet.until),
            ((some, until), true) => (some, until.max(quiet.until)),
            (blocked, false) => blocked,
        }
    }

    /// Deliveries that were pushed and are not in the log yet.
    pub(super) fn pushed(&self, limit: &Cap, view: &View<'_>) -> Held {
        // What is held for reactions under way may yet come to nothing, and refuses reactions alone.
        if limit.reaction == Reaction::Delivered { view.totals.held(view.person.profile(), self.slot) } else { Held::new() }
    }

    /// Whether there is a place left, with `held` taken beside what is logged, and when there is one again.
    /// Places held in a window grow old like those that are logged.
    #[must_use]
    pub fn open(&self, limit: &Cap, held: &[Millis], now: Millis) -> Truth {
        match limit.within_ms {
            None => self
                .spent
                .map_or(Truth::forever((held.len() as u64) < limit.count), |spent| spent.open(limit, now, held.len() as u64)),
            Some(within_ms) => {
                let mut all: SmallVec<[Millis; 8]> = held.iter().copied().filter(|t| t.plus(within_ms) > now).collect();
                all.extend(self.spent.into_iter().flat_map(|spent| spent.instants(limit, now)));
                if (all.len() as u64) < limit.count {
                    return Truth::forever(true);
                }
                all.sort_unstable();
                // This many must grow too old before there is a free place.
                let excess = all.len() as u64 - limit.count + 1;
                let last = usize::try_from(excess - 1).ok().and_then(|nth| all.get(nth));
                Truth { holds: false, until: last.map_or(Millis::MAX, |t| t.plus(within_ms)) }
            }
        }
    }

    /// How many places are taken now. With a window it is exact up to the limit and may stop there.
    #[must_use]
    pub fn used(&self, limit: &Cap, held: &[Millis], now: Millis) -> u64 {
        let young = |t: &&Millis| limit.within_ms.is_none_or(|within_ms| t.plus(within_ms) > now);
        self.spent.map_or(0, |spent| spent.used(limit, now)) + held.iter().filter(young).count() as u64
    }
}

#[cfg(test)]
mod tests;
