//! Sparse per-profile state, keyed by the slot of a definition.

use serde::{Deserialize, Serialize};

/// A sorted small vector from slot number to state.
///
/// A profile touches a few dozen definitions, so a binary search over one contiguous allocation beats a
/// hash map and keeps what one event touches in a few cache lines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slots<T>(Vec<(u32, T)>);

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Slots<T> {
    /// The state in `slot`, if any.
    #[must_use]
    pub fn get(&self, slot: u32) -> Option<&T> {
        self.0.binary_search_by_key(&slot, |(s, _)| *s).ok().map(|i| &self.0[i].1)
    }

    /// The state in `slot`, if any.
    pub fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.0.binary_search_by_key(&slot, |(s, _)| *s).ok().map(|i| &mut self.0[i].1)
    }

    /// The state in `slot`, made by `make` when there is none.
    pub fn get_or_insert_with(&mut self, slot: u32, make: impl FnOnce() -> T) -> &mut T {
        let at = match self.0.binary_search_by_key(&slot, |(s, _)| *s) {
            Ok(at) => at,
            Err(at) => {
                self.0.insert(at, (slot, make()));
                at
            }
        };
        &mut self.0[at].1
    }

    /// Makes `state` the state in `slot`; none leaves it empty.
    pub fn put(&mut self, slot: u32, state: Option<T>) {
        match (self.0.binary_search_by_key(&slot, |(s, _)| *s), state) {
            (Ok(at), Some(state)) => self.0[at].1 = state,
            (Ok(at), None) => drop(self.0.remove(at)),
            (Err(at), Some(state)) => self.0.insert(at, (slot, state)),
            (Err(_), None) => {}
        }
    }

    /// Forgets the state in `slot`.
    pub fn remove(&mut self, slot: u32) -> Option<T> {
        self.0.binary_search_by_key(&slot, |(s, _)| *s).ok().map(|i| self.0.remove(i).1)
    }

    /// All states in slot order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.0.iter().map(|(slot, state)| (*slot, state))
    }

    /// All states in slot order.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut T)> {
        self.0.iter_mut().map(|(slot, state)| (*slot, state))
    }

    /// Keeps the states that `keep` wants.
    pub fn retain(&mut self, mut keep: impl FnMut(u32) -> bool) {
        self.0.retain(|(slot, _)| keep(*slot));
    }

    /// How many slots hold state.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no slot holds state.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
