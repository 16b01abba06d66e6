//! Places of budgets that are taken before the log says so, by person.
//!
//! Two things take one: a delivery that was pushed and not acknowledged yet, and a gated reaction that is
//! being decided. Both end when the reaction is logged, or when it is certain that it will not be. They live
//! in memory only, so a crash gives them back.

use super::HOLD_MS;
use crate::action::budget::Held;
use crate::ids::{ActionSlot, BudgetSlot, Millis, ProfileId};
use dashmap::DashMap;
use smallvec::SmallVec;

/// What holds a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// A delivery under way.
    Delivery(u128),
    /// A reaction under way: the action and its hold there.
    Act(ActionSlot, u64),
}

#[derive(Clone, Debug)]
struct Place {
    holder: Holder,
    budgets: SmallVec<[BudgetSlot; 2]>,
    since: Millis,
}

/// The places of everybody. A person's are taken under the lock of their profile; they are given back
/// without it.
#[derive(Debug, Default)]
pub(super) struct Places(DashMap<ProfileId, Vec<Place>, foldhash::quality::RandomState>);

impl Places {
    pub(super) fn take(&self, profile: ProfileId, holder: Holder, budgets: impl Iterator<Item = BudgetSlot>, since: Millis) {
        let budgets: SmallVec<[BudgetSlot; 2]> = budgets.collect();
        if !budgets.is_empty() {
            self.0.entry(profile).or_default().push(Place { holder, budgets, since });
        }
    }

    /// Gives a place back; the budgets that have it again. Empty where there was none.
    pub(super) fn give_back(&self, profile: ProfileId, holder: Holder) -> SmallVec<[BudgetSlot; 2]> {
        if self.0.is_empty() {
            return SmallVec::new();
        }
        let given = self.remove(profile, holder);
        if !given.is_empty() {
            return given;
        }
        // Merged away in between: the place is with whoever absorbed the profile.
        let moved =
            self.0.iter().find(|entry| entry.value().iter().any(|place| place.holder == holder)).map(|entry| *entry.key());
        moved.map_or_else(SmallVec::new, |profile| self.remove(profile, holder))
    }

    fn remove(&self, profile: ProfileId, holder: Holder) -> SmallVec<[BudgetSlot; 2]> {
        let dashmap::Entry::Occupied(mut entry) = self.0.entry(profile) else { return SmallVec::new() };
        let places = entry.get_mut();
        let found = places.iter().position(|place| place.holder == holder).map(|at| places.swap_remove(at).budgets);
        if places.is_empty() {
            entry.remove();
        }
        found.unwrap_or_default()
    }

    /// Since when the places of one person in one budget are held.
    pub(super) fn held(&self, profile: ProfileId, budget: BudgetSlot) -> Held {
        if self.0.is_empty() {
            return Held::new();
        }
        let mine = |places: &Vec<Place>| {
            places.iter().filter(|place| place.budgets.contains(&budget)).map(|place| place.since).collect()
        };
        self.0.get(&profile).map_or_else(Held::new, |places| mine(&places))
    }

    /// Gives back what reactions have held for too long. A delivery holds until its session says so.
    pub(super) fn expire(&self, now: Millis) {
        self.0.retain(|_, places| {
            places.retain(|place| matches!(place.holder, Holder::Delivery(_)) || place.since.plus(HOLD_MS) > now);
            !places.is_empty()
        });
    }

    /// What an absorbed profile held is its absorber's.
    pub(super) fn absorb(&self, from: ProfileId, into: ProfileId) {
        if let Some((_, places)) = self.0.remove(&from) {
            self.0.entry(into).or_default().extend(places);
        }
    }
}
