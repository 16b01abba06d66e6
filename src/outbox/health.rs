//! How the hooks of each definition are doing since the start: a broken one is seen before somebody asks.

use dashmap::DashMap;
use foldhash::fast::RandomState;
use lodestone_state::event::Link;
use lodestone_state::ids::Millis;

/// Hooks that are kept count of; beyond it new ones are not. Definitions cannot have more by far.
const HOOKS_MAX: usize = 100_000;

/// One hook: the definition that it belongs to, and its place there.
pub type Hook = (Link, u16);

/// What is known of one hook.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Calls that went well.
    pub succeeded: u64,
    /// Calls that did not.
    pub failed: u64,
    /// The last success.
    pub succeeded_at: Option<Millis>,
    /// The last failure, and why: an HTTP status or a word.
    pub failure: Option<(Millis, String)>,
}

/// The hooks that have run since the start.
#[derive(Debug, Default)]
pub struct Health {
    hooks: DashMap<Key, Record, RandomState>,
}

/// A link cannot be hashed, its parts can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    rule: bool,
    slot: u32,
    place: u16,
}

impl Key {
    fn of((link, place): Hook) -> Self {
        match link {
            Link::Rule(slot) => Self { rule: true, slot: slot.0, place },
            Link::Action(slot) => Self { rule: false, slot: slot.0, place },
        }
    }

    fn hook(self) -> Hook {
        let slot = self.slot;
        let link = if self.rule {
            Link::Rule(lodestone_state::ids::RuleSlot(slot))
        } else {
            Link::Action(lodestone_state::ids::ActionSlot(slot))
        };
        (link, self.place)
    }
}

impl Health {
    /// A call of `hook` ended; `failure` says why it did not go well.
    pub fn note(&self, hook: Hook, now: Millis, failure: Option<&str>) {
        let key = Key::of(hook);
        if self.hooks.len() >= HOOKS_MAX && !self.hooks.contains_key(&key) {
            return;
        }
        let mut record = self.hooks.entry(key).or_default();
        match failure {
            None => {
                record.succeeded += 1;
                record.succeeded_at = Some(now);
            }
            Some(reason) => {
                record.failed += 1;
                record.failure = Some((now, reason.to_owned()));
            }
        }
    }

    /// Every hook that has run, those that failed last first.
    #[must_use]
    pub fn all(&self) -> Vec<(Hook, Record)> {
        let mut all: Vec<(Key, Record)> = self.hooks.iter().map(|entry| (*entry.key(), entry.value().clone())).collect();
        all.sort_by_key(|(key, record)| {
            (std::cmp::Reverse(record.failure.as_ref().map(|(at, _)| *at)), key.rule, key.slot, key.place)
        });
        all.into_iter().map(|(key, record)| (key.hook(), record)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lodestone_state::ids::{ActionSlot, RuleSlot};

    #[test]
    fn what_failed_last_comes_first() {
        let health = Health::default();
        let (good, bad) = ((Link::Action(ActionSlot(1)), 0), (Link::Rule(RuleSlot(1)), 2));
        health.note(good, Millis(1), Some("500"));
        health.note(good, Millis(2), None);
        health.note(bad, Millis(3), Some("timeout"));
        let all = health.all();
        assert_eq!(all.iter().map(|(hook, _)| *hook).collect::<Vec<_>>(), [bad, good]);
        let expect =
            Record { succeeded: 1, failed: 1, succeeded_at: Some(Millis(2)), failure: Some((Millis(1), "500".to_owned())) };
        assert_eq!(all[1].1, expect);
    }
}
