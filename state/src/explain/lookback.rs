//! How far back a definition looks: a log that begins later than that answers as the whole one would.

use super::needs::Needs;
use crate::audience::{AudienceDef, ChainDef, Window};
use crate::plan::Plan;

/// Milliseconds after which nothing that happened before matters any more, for everything in `needs` together;
/// `None` where something matters for ever.
#[must_use]
pub fn lookback(plan: &Plan, needs: &Needs) -> Option<i64> {
    let audiences =
        needs.audiences.iter().filter_map(|slot| plan.audience_plan(*slot)).map(|audience| of_audience(&audience.def));
    let traits = needs.traits.iter().filter_map(|slot| plan.trait_plan(*slot)).map(|known| known.def.window_ms);
    // One may compare with the value that another had at the far end of its own window.
    audiences.chain(traits).try_fold(0_i64, |sum, one| Some(sum.saturating_add(one?)))
}

fn of_audience(def: &AudienceDef) -> Option<i64> {
    let counts = def.conditions.iter().map(|condition| match condition.window {
        Window::Any => None,
        Window::Within(ms) | Window::Between(_, ms) => Some(ms),
    });
    counts.chain(def.chains.iter().map(of_chain)).try_fold(0, |longest: i64, one| Some(longest.max(one?)))
}

/// From the first event of an attempt to its end, at the longest.
fn of_chain(chain: &ChainDef) -> Option<i64> {
    let first = chain.steps.first()?;
    if let (1, Some(ends)) = (first.times, first.ends_ms) {
        return Some(ends);
    }
    let stands = chain.steps.last()?.ends_ms?;
    let gaps = || {
        chain
            .steps
            .iter()
            .skip(1)
            .try_fold(0_i64, |sum, step| Some(sum.saturating_add(step.gap_max_ms.filter(|_| step.times == 1)?)))
    };
    let runs = chain.window_from_first_ms.or_else(|| gaps().filter(|_| first.times == 1))?;
    Some(runs.saturating_add(stands))
}
