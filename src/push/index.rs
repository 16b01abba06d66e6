//! Which sessions hold an action that everybody shares a count of: who has to hear when the count is used
//! up, without asking all the others.

use super::Session;
use dashmap::DashMap;
use foldhash::fast::RandomState;
use lodestone_state::ids::ActionSlot;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// Locks per action: thousands of sessions come to hold one action at the same time.
const STRIPES: usize = 16;

/// Sessions by action and number. Looked up and changed under a session's lock; never holds one.
pub(super) struct Holders(DashMap<ActionSlot, Arc<Stripes>, RandomState>);

#[derive(Default)]
struct Stripes([Mutex<HashMap<u64, Arc<Session>, RandomState>>; STRIPES]);

impl Holders {
    pub(super) fn new() -> Self {
        Self(DashMap::with_hasher(RandomState::default()))
    }

    fn stripes(&self, action: ActionSlot) -> Arc<Stripes> {
        if let Some(found) = self.0.get(&action) {
            return found.clone();
        }
        self.0.entry(action).or_default().clone()
    }

    pub(super) fn add(&self, action: ActionSlot, session: &Arc<Session>) {
        self.stripes(action).of(session.id()).lock().insert(session.id(), session.clone());
    }

    pub(super) fn remove(&self, action: ActionSlot, session: u64) {
        if let Some(found) = self.0.get(&action) {
            found.of(session).lock().remove(&session);
        }
    }

    /// All sessions that hold `action`, oldest first: whoever waits longest hears first.
    pub(super) fn of(&self, action: ActionSlot) -> Vec<Arc<Session>> {
        let Some(found) = self.0.get(&action).map(|found| found.clone()) else { return Vec::new() };
        let mut all: Vec<Arc<Session>> =
            found.0.iter().flat_map(|stripe| stripe.lock().values().cloned().collect::<Vec<_>>()).collect();
        all.sort_unstable_by_key(|session| session.id());
        all
    }
}

impl Stripes {
    fn of(&self, session: u64) -> &Mutex<HashMap<u64, Arc<Session>, RandomState>> {
        &self.0[usize::try_from(session % STRIPES as u64).unwrap_or(0)]
    }
}
