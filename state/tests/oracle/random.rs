//! Random histories: events in and out of order, equal times, custom traits, and time that passes.

use super::names::path;
use super::rig::{Machine, Rig, occurrence};
use lodestone_state::event::Props;
use lodestone_state::ids::Millis;
use lodestone_state::time::format_instant;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

/// Everything happens on this grid, so that times and deadlines meet often. Six hours.
pub(crate) const TICK: i64 = 21_600_000;
/// When histories begin.
pub(crate) const START: i64 = 1_709_251_200_000;

#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// An event so many ticks ago, in a channel.
    Track { name: char, late: i64, on_web: bool, properties: Json },
    /// The favourite becomes another.
    Identify(Option<char>),
    /// So many ticks pass.
    Pass(i64),
}

pub(crate) fn properties() -> impl Strategy<Value = Json> {
    let product = prop::option::weighted(0.9, prop::sample::select(vec!["x", "y", "z"]));
    let when = prop::option::weighted(0.8, -8..24_i64);
    let tags = prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 0..3);
    (product, prop::option::weighted(0.8, -3..6_i64), prop::option::weighted(0.8, -40_000..40_000_i64), when, tags).prop_map(
        |(product, n, price, when, tags)| {
            let when = when.map(|ticks| format_instant(Millis(START + ticks * TICK)).to_string());
            // Tenths of thousandths, so that the rounding shows.
            json!({"product": product, "n": n, "price": price.map(|p| p as f64 / 10_000.0), "when": when, "tags": tags})
        },
    )
}

fn input(names: Vec<char>) -> impl Strategy<Value = Input> {
    let late = prop_oneof![6 => Just(0), 2 => 1..4_i64, 1 => 4..12_i64];
    let track = (prop::sample::select(names), late, prop::bool::weighted(0.7), properties())
        .prop_map(|(name, late, on_web, properties)| Input::Track { name, late, on_web, properties });
    let favourite = prop::option::weighted(0.9, prop::sample::select(vec!['x', 'y']));
    prop_oneof![8 => track, 1 => favourite.prop_map(Input::Identify), 3 => (1..4_i64).prop_map(Input::Pass), 1 => (4..16_i64).prop_map(Input::Pass)]
}

/// A history of events with these names.
pub(crate) fn history(names: &str, len: usize) -> impl Strategy<Value = Vec<Input>> {
    prop::collection::vec(input(names.chars().collect()), 1..len)
}

/// Plays a history; `watch` sees every instant at which anything may have changed, the one before each
/// deadline, and long after the end.
pub(crate) fn play<M: Machine>(rig: &mut Rig<'_, M>, history: &[Input], watch: &mut impl FnMut(&Rig<'_, M>, Millis)) {
    rig.pass(Millis(START), watch);
    for input in history {
        let now = rig.clock;
        match input {
            Input::Track { name, late, on_web, properties } => {
                let channel = if *on_web { "web" } else { "app" };
                rig.event(occurrence(&name.to_string(), channel, properties), now.minus(late * TICK), now, watch);
            }
            Input::Identify(favourite) => {
                let favourite = favourite.map(|f| (path("fav"), f.to_string().as_str().into()));
                rig.identify(Props::new(favourite.into_iter().collect()), now, watch);
            }
            Input::Pass(ticks) => {
                for _ in 0..*ticks {
                    rig.pass(rig.clock.plus(TICK), watch);
                }
            }
        }
    }
    for _ in 0..60 {
        rig.pass(rig.clock.plus(TICK), watch);
    }
}
