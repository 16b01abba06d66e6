//! History that is not kept for ever: what is too old leaves the log of every profile.

use super::Engine;
use lodestone_state::event::Erased;
use lodestone_state::ids::Millis;
use lodestone_state::machine::Changes;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What is too old is decided by whole days, so that a profile is folded anew once a day at the most.
const DAY_MS: i64 = 86_400_000;
/// How often everybody is looked at: entries may come that are too old already.
const PACE: Duration = Duration::from_secs(3600);
/// How often the thread looks whether it has to stop.
const NAP: Duration = Duration::from_millis(200);
/// How long a sweep leaves the processor to the journal when that is behind.
const REST: Duration = Duration::from_millis(2);

/// What one sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Profiles that lost entries.
    pub profiles: u64,
    /// Entries that left.
    pub entries: u64,
}

impl Engine {
    /// The retention thread: sweeps at once and then every hour, until [`Engine::stop_background`].
    pub fn run_retention(&self) {
        if self.keep_history.is_none() {
            return;
        }
        let mut left = Duration::ZERO;
        while !self.stopping.load(Ordering::Relaxed) {
            if left.is_zero() {
                let swept = self.sweep_history();
                if swept.profiles > 0 {
                    tracing::info!(profiles = swept.profiles, entries = swept.entries, "history that was too old has left");
                }
                left = PACE;
            }
            std::thread::sleep(NAP);
            left = left.saturating_sub(NAP);
        }
    }

    /// Takes what is older than history is kept out of every log, one profile at a time while events keep
    /// flowing. Rows go from the disk with the next checkpoint of their profile. What was still to be done
    /// elsewhere because of such entries is not done any more.
    pub fn sweep_history(&self) -> Swept {
        let mut swept = Swept::default();
        let Some(before) = self.kept_from(self.clock.now()) else { return swept };
        for shared in self.store.all() {
            if self.erasable().is_err() {
                break;
            }
            let mut profile = shared.lock();
            if profile.gone.is_some() || profile.core.oldest >= before {
                continue;
            }
            let plan = self.plan.load_full();
            let mut changes = Changes::default();
            self.bring_up_to_date(&plan, &mut profile, &mut changes);
            self.catch_up(&plan, &shared, &mut profile, self.clock.now(), &mut changes);
            let erased = Erased { before: Some(before), ..Erased::default() };
            self.commit_erased(&plan, &shared, &mut profile, erased, &mut changes);
            drop(profile);
            swept.profiles += 1;
            swept.entries += changes.left as u64;
            if self.pressure() {
                std::thread::sleep(REST);
            }
        }
        self.let_outdated_go(self.clock.now());
        swept
    }

    /// Nothing that happened before this is kept.
    pub(super) fn kept_from(&self, now: Millis) -> Option<Millis> {
        let keep = i64::try_from(self.keep_history?.as_millis()).ok()?;
        Some(Millis(now.minus(keep).0.div_euclid(DAY_MS) * DAY_MS))
    }
}
