//! Histories that were found to go wrong once, as the shortest that do.

use super::defs::{Audience, Defs, Edit};
use super::play;
use super::steps::Step;
use crate::oracle::conditions::Cond;
use crate::oracle::members::Count;
use serde_json::json;

/// Each step is followed by every comparison, so a history that goes through has none wrong.
fn goes_through(steps: &[Step]) {
    play(Defs::default(), steps);
}

fn track(user: usize) -> Step {
    Step::Track { user, name: 'A', late: 0, on_web: false, properties: json!({}), message: None }
}

fn likes(user: usize, product: &str) -> Step {
    Step::Track { user, name: 'A', late: 0, on_web: false, properties: json!({"product": product}), message: None }
}

fn identify(user: usize, previous: Option<usize>, favourite: Option<Option<char>>) -> Step {
    Step::Identify { user, previous, favourite, known: false, late: 0 }
}

/// An identify that merges the person of `previous` into that of `user`.
fn merge(user: usize, previous: usize) -> Step {
    identify(user, Some(previous), None)
}

/// The same, which sets the favourite, or takes it away.
fn merge_and_set(user: usize, previous: usize, favourite: Option<char>) -> Step {
    identify(user, Some(previous), Some(favourite))
}

fn set(user: usize, favourite: char) -> Step {
    identify(user, None, Some(Some(favourite)))
}

/// Whoever left a branch, and then absorbed what the branch is a part of, stays with their own id when the
/// branch is undone.
#[test]
fn an_id_that_left_a_branch_stays_where_it_went() {
    goes_through(&[track(2), track(0), track(1), merge(0, 1), merge(2, 0), Step::Undo(1), merge(1, 0), Step::Undo(1)]);
}

/// Whoever left with an undoing, and came back by another merge, is not looked for where they left.
#[test]
fn an_id_that_came_back_another_way_is_with_whom_it_came() {
    goes_through(&[
        track(2),
        track(3),
        track(1),
        merge(3, 1),
        merge(2, 1),
        merge(0, 1),
        Step::Undo(1),
        track(1),
        merge(2, 1),
        Step::Undo(2),
    ]);
}

/// A merge that takes away what the absorbed brought along is a change by whoever asked for it.
#[test]
fn what_a_merge_took_away_does_not_come_back_with_another_undoing() {
    goes_through(&[track(3), set(2, 'x'), track(0), merge_and_set(3, 2, None), merge(0, 2), Step::Undo(0), Step::Undo(0)]);
}

/// What somebody set by an identify that merged others is theirs through several undoings.
#[test]
fn what_a_merge_set_goes_with_the_id_that_set_it() {
    goes_through(&[
        track(2),
        track(0),
        merge(3, 0),
        merge(0, 2),
        Step::Undo(1),
        merge(1, 2),
        merge_and_set(2, 0, Some('x')),
        Step::Undo(2),
        Step::Undo(2),
    ]);
}

/// What came back, and went again, stays with whom it went to when all of them are written at once.
#[test]
fn a_profile_that_came_back_and_went_again_is_not_there_after_a_crash() {
    goes_through(&[
        track(0),
        track(2),
        track(3),
        merge(2, 3),
        merge(0, 2),
        Step::Undo(0),
        merge(0, 2),
        Step::Undo(1),
        merge(1, 2),
        Step::Undo(2),
        Step::Checkpoint(6),
        Step::Crash,
    ]);
}

/// What an undoing left with somebody is theirs when they are told apart again, also where the log does not
/// say any more who set it.
#[test]
fn what_an_undoing_left_is_of_whom_it_left_it_with() {
    goes_through(&[
        track(0),
        merge(3, 0),
        set(3, 'x'),
        Step::Undo(0),
        track(0),
        track(3),
        Step::Pass(14),
        Step::Retain(4),
        merge(0, 3),
        Step::Undo(0),
    ]);
}

/// The same where an id that has left is still named by the merge that it once brought about.
#[test]
fn what_an_undoing_left_is_not_of_an_id_that_came_back_since() {
    goes_through(&[
        track(1),
        track(2),
        merge(0, 2),
        set(0, 'x'),
        merge(2, 1),
        Step::Undo(0),
        Step::Undo(0),
        Step::Pass(13),
        Step::Track { user: 0, name: 'A', late: 13, on_web: false, properties: json!({}), message: None },
        Step::Retain(4),
        merge(0, 2),
        Step::Undo(0),
    ]);
}

/// A late event that is taken for a match until the log is read, and is none, ends no membership: it goes on
/// since when it began.
#[test]
fn a_membership_that_only_seemed_to_end_goes_on() {
    let none_liked = Audience::counting(Count::none('A', Cond::Favourite));
    let product = json!({"product": "y"});
    goes_through(&[
        Step::Edit(Edit::Audience(0, Some(none_liked))),
        track(0),
        Step::Pass(2),
        set(0, 'y'),
        Step::Track { user: 0, name: 'A', late: 1, on_web: false, properties: product, message: None },
    ]);
}

/// What the union of a merge ends and its identify begins again goes on since when it began.
#[test]
fn a_membership_that_a_merge_only_interrupts_goes_on() {
    let none_liked = Audience::counting(Count::none('A', Cond::Favourite));
    let merges = |late| Step::Identify { user: 2, previous: Some(3), favourite: None, known: false, late };
    for late in [0, 1] {
        goes_through(&[
            likes(0, "z"),
            likes(0, "z"),
            set(2, 'x'),
            likes(3, "z"),
            Step::Identify { user: 0, previous: Some(3), favourite: Some(Some('y')), known: false, late: 0 },
            Step::Edit(Edit::Audience(0, Some(none_liked.clone()))),
            Step::Pass(5),
            likes(0, "z"),
            likes(2, "y"),
            merges(late),
        ]);
    }
}

/// What an undoing said of who came back stays with them when one of those that are part of them leaves.
#[test]
fn what_an_undoing_said_stays_when_a_part_leaves() {
    let liked = Audience::counting(Count::some('A', Cond::Favourite));
    goes_through(&[
        Step::Edit(Edit::Audience(0, Some(liked))),
        track(2),
        merge(1, 2),
        merge_and_set(3, 1, Some('x')),
        Step::Undo(1),
        likes(1, "x"),
        merge(1, 3),
        Step::Undo(0),
    ]);
}
