//! What can happen, at random.

use super::defs::{Edit, edit};
use crate::oracle::random::properties;
use proptest::prelude::*;
use serde_json::Value as Json;

/// People.
const USERS: usize = 4;

#[derive(Clone, Debug)]
pub(super) enum Step {
    /// So many ticks late; a message id makes a repeat of what had it before.
    Track {
        user: usize,
        name: char,
        late: i64,
        on_web: bool,
        properties: Json,
        message: Option<u8>,
    },
    /// With a favourite, or none from now on, or nothing said of it.
    Identify {
        user: usize,
        previous: Option<usize>,
        favourite: Option<Option<char>>,
        known: bool,
        late: i64,
    },
    /// The merge of one of those that are part of another.
    Undo(usize),
    /// One of the events of somebody.
    Erase {
        user: usize,
        which: usize,
    },
    /// Everything older than so many ticks.
    Retain(i64),
    Edit(Edit),
    /// Some of the profiles are written.
    Checkpoint(u8),
    /// All of them are.
    Seal,
    Crash,
    /// Ticks; many of them are days.
    Pass(i64),
    /// The clock is set back by so many ticks.
    SetBack(i64),
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let user = 0..USERS;
    let late = || prop_oneof![5 => Just(0_i64), 2 => 1..4_i64, 1 => 4..16_i64];
    let names = prop::sample::select(vec!['A', 'A', 'B', 'C', 'X', 'P', 'P', 'P', 'Q']);
    let message = prop::option::weighted(0.3, 0..6_u8);
    let track = (user.clone(), names, late(), prop::bool::weighted(0.7), properties(), message).prop_map(
        |(user, name, late, on_web, properties, message)| Step::Track { user, name, late, on_web, properties, message },
    );
    let favourite = prop::option::weighted(0.6, prop::option::weighted(0.8, prop::sample::select(vec!['x', 'y'])));
    let identify = (user.clone(), prop::option::weighted(0.7, user.clone()), favourite, prop::bool::weighted(0.4), late())
        .prop_map(|(user, previous, favourite, known, late)| Step::Identify { user, previous, favourite, known, late });
    prop_oneof![
        20 => track.boxed(),
        5 => identify.boxed(),
        3 => (0..8_usize).prop_map(Step::Undo),
        2 => (user, 0..16_usize).prop_map(|(user, which)| Step::Erase { user, which }),
        1 => (4..24_i64).prop_map(Step::Retain),
        1 => edit().prop_map(Step::Edit),
        2 => any::<u8>().prop_map(Step::Checkpoint),
        1 => Just(Step::Seal),
        2 => Just(Step::Crash),
        6 => (1..5_i64).prop_map(Step::Pass),
        1 => (5..40_i64).prop_map(Step::Pass),
        1 => (1..12_i64).prop_map(Step::SetBack),
    ]
}
