use super::*;
use crate::engine::testing::Rig;
use lodestone_state::plan::Refold;

fn build(what: u128) -> Option<(Kind, DefId)> {
    Some((Kind::ComputedTrait, DefId(what)))
}

fn names(state: &State) -> Vec<u128> {
    state.builds.iter().filter_map(|build| Some(build.what?.1.0)).collect()
}

/// A definition that comes in the middle of a lap is built when the sweep has come round; the one before
/// it is built as if nothing had come.
#[test]
fn a_newer_change_costs_an_older_one_nothing() {
    let ids: Vec<ProfileId> = (1..=10).map(ProfileId).collect();
    let mut state = State { fresh: true, running: true, target: 1, ..State::default() };
    state.want(build(1), 1, ids.len());
    assert_eq!(state.take_note(ids.len()), Some((0, None)));
    assert_eq!(state.take_note(ids.len()), None);
    let step = Step { visited: 1, folded: 1, events: 3 };
    let mut told = Vec::new();
    for turn in 0..20 {
        if turn == 4 {
            state.want(build(2), 1, ids.len());
            (state.fresh, state.target) = (true, 2);
            assert!(!state.advance(&Step::default(), None, false), "what nobody has seen is not built");
            assert_eq!(state.take_note(ids.len()), Some((0, Some(ProfileId(4)))));
        }
        let at = turn % ids.len();
        let over = state.advance(&step, Some(ids[at]), at + 1 == ids.len());
        told.push(names(&state));
        if over {
            break;
        }
    }
    assert_eq!(told.len(), 14, "{told:?}");
    assert_eq!((&told[3], &told[8], &told[9], &told[13]), (&vec![1], &vec![1, 2], &vec![2], &vec![]));
    assert_eq!((state.built, state.running), (2, false));
}

/// What comes again while it is being built begins again, alone.
#[test]
fn an_edit_of_what_is_being_built_begins_again() {
    let mut state = State { fresh: true, running: true, ..State::default() };
    state.want(build(1), 1, 2);
    state.take_note(2);
    state.advance(&Step { visited: 1, ..Step::default() }, Some(ProfileId(1)), false);
    assert_eq!((state.builds[0].done, state.builds[0].revision), (1, 1));
    state.want(build(1), 2, 2);
    state.fresh = true;
    assert_eq!((state.builds.len(), state.builds[0].done, state.builds[0].revision), (1, 0, 2));
    assert_eq!(state.take_note(2), Some((0, Some(ProfileId(1)))));
    assert!(!state.advance(&Step { visited: 1, ..Step::default() }, Some(ProfileId(2)), true));
    assert!(state.advance(&Step { visited: 1, ..Step::default() }, Some(ProfileId(1)), false));
}

#[test]
fn removals_in_a_row_need_no_fold() {
    let backfill = Backfill::default();
    backfill.0.lock().removals = vec![(1, 2), (2, 3), (7, 8)];
    for (from, to, less) in [(1, 2, true), (1, 3, true), (2, 3, true), (3, 1, false), (1, 8, false), (7, 8, true), (5, 5, false)]
    {
        assert_eq!(backfill.only_less(from, to), less, "{from} to {to}");
    }
}

/// T-33: what a removed definition held of people is let go of in all of memory, without a fold.
#[test]
fn t33_a_removal_frees_the_state_of_everyone() {
    let rig = Rig::new();
    for user in 0..200 {
        rig.view(&format!("u{user}"));
    }
    let plan = rig.engine.plan();
    let (slot, audience) =
        (plan.trait_by_key("views").expect("a trait").slot, plan.audience_by_key("viewers").expect("an audience").slot);
    let holds = || {
        let all = rig.engine.store.all();
        let cells = |shared: &Shared| {
            let profile = shared.lock();
            (profile.trait_state(slot).is_some(), profile.core.audiences.get(audience.0).is_some())
        };
        let cells: Vec<(bool, bool)> = all.iter().map(cells).collect();
        (cells.iter().filter(|cell| cell.0).count(), cells.iter().filter(|cell| cell.1).count())
    };
    assert_eq!((holds(), rig.engine.members.count(audience)), ((200, 200), 200));
    let before = rig.engine.plan();
    rig.remove(Kind::Audience, "viewers");
    rig.remove(Kind::ComputedTrait, "views");
    let after = rig.engine.plan();
    assert_eq!(after.refold_from(&before), Refold::Less);
    assert!(rig.engine.backfill.only_less(before.generation, after.generation));
    rig.settle();
    assert_eq!((holds(), rig.engine.members.count(audience)), ((0, 0), 0));
    let current = |shared: &Shared| shared.lock().core.generation == after.generation;
    assert!(rig.engine.store.all().iter().all(current));
}
