use super::*;
use crate::action::testing::{APP, WEB, at};
use crate::time::DAY_MS;
use proptest::prelude::*;

fn user(reaction: Reaction, count: u64, within_ms: Option<i64>) -> Cap {
    Cap { reaction, group: Group::User, count, within_ms, channels: Box::default() }
}

fn state(caps: &[Cap], log: &[(Reaction, ChannelSlot, Millis)]) -> CapState {
    CapState::rebuild(caps, Group::User, log.iter().copied())
}

// T-66: 2 shows within 7 days block; the window is half-open, so it opens at exactly 7 × 24 h.
#[test]
fn t66_a_window_opens_when_its_oldest_leaves() {
    let caps = [user(Reaction::Shown, 2, Some(7 * DAY_MS))];
    let (first, second) = (at("2024-03-01T10:00:00Z"), at("2024-03-02T10:00:00Z"));
    let mut tally = state(&caps, &[(Reaction::Shown, WEB, first)]);
    assert_eq!(tally.open(&caps[0], first, 0), Truth::forever(true));
    tally.record(&caps, Group::User, Reaction::Shown, APP, second);
    let opens = at("2024-03-08T10:00:00Z");
    assert_eq!(tally.open(&caps[0], second, 0), Truth { holds: false, until: opens });
    assert!(!tally.open(&caps[0], opens.minus(1), 0).holds);
    assert!(tally.open(&caps[0], opens, 0).holds);
    assert_eq!(tally.used(&caps[0], opens), 1);
}

// T-68: one show each, cap 2: the merged profile is capped.
#[test]
fn t68_merge_is_the_union() {
    for within_ms in [None, Some(DAY_MS)] {
        let caps = [user(Reaction::Shown, 2, within_ms)];
        let mut a = state(&caps, &[(Reaction::Shown, WEB, Millis(10))]);
        let b = state(&caps, &[(Reaction::Shown, APP, Millis(5))]);
        a.merge(&b);
        assert!(!a.open(&caps[0], Millis(10), 0).holds);
        assert_eq!(a, state(&caps, &[(Reaction::Shown, APP, Millis(5)), (Reaction::Shown, WEB, Millis(10))]));
    }
}

#[test]
fn a_count_of_zero_blocks_for_ever() {
    for within_ms in [None, Some(1000)] {
        let cap = user(Reaction::Delivered, 0, within_ms);
        assert_eq!(CapState::default().open(&cap, Millis(0), 0), Truth::forever(false));
    }
}

#[test]
fn channels_filter_what_counts() {
    let cap = Cap { channels: [APP].into(), ..user(Reaction::Shown, 1, None) };
    let caps = [cap];
    assert!(state(&caps, &[(Reaction::Shown, WEB, Millis(0))]).open(&caps[0], Millis(0), 0).holds);
    assert!(state(&caps, &[(Reaction::Hidden, APP, Millis(0))]).open(&caps[0], Millis(0), 0).holds);
    assert!(!state(&caps, &[(Reaction::Shown, APP, Millis(0))]).open(&caps[0], Millis(0), 0).holds);
}

#[test]
fn every_kind_is_counted_and_the_ungated_may_exceed() {
    for (word, reaction) in crate::action::REACTIONS {
        let caps = [user(reaction, 2, None)];
        let log = [(reaction, WEB, Millis(1)); 5];
        let tally = state(&caps, &log);
        assert_eq!(tally.used(&caps[0], Millis(1)), 5, "{word}");
        assert_eq!(tally.total(reaction, &[WEB]), 5, "{word}");
        assert_eq!(gated(reaction), matches!(word, "shown" | "accepted"));
    }
}

#[test]
fn reserved_places_count_and_do_not_age() {
    let caps = [user(Reaction::Accepted, 2, Some(100))];
    let tally = state(&caps, &[(Reaction::Accepted, WEB, Millis(0))]);
    assert!(tally.open(&caps[0], Millis(1), 0).holds);
    assert_eq!(tally.open(&caps[0], Millis(1), 1), Truth { holds: false, until: Millis(100) });
    assert_eq!(tally.open(&caps[0], Millis(1), 2), Truth { holds: false, until: Millis::MAX });
}

#[test]
fn an_edit_that_memory_cannot_answer_is_noticed() {
    let log: Vec<_> = (0..5).map(|t| (Reaction::Shown, WEB, Millis(t))).collect();
    let ever = [user(Reaction::Shown, 3, None)];
    let tally = state(&ever, &log);
    let wider = [user(Reaction::Shown, 9, None), user(Reaction::Hidden, 2, Some(10))];
    assert!(tally.covers(&wider, Group::User), "counters answer every cap without a window");
    let windowed = [user(Reaction::Shown, 3, Some(10))];
    assert!(!tally.covers(&windowed, Group::User));
    let rebuilt = state(&windowed, &log);
    assert!(rebuilt.covers(&windowed, Group::User));
    assert!(rebuilt.covers(&[user(Reaction::Shown, 2, Some(10))], Group::User));
    assert!(!rebuilt.covers(&[user(Reaction::Shown, 4, Some(10))], Group::User));
}

#[test]
fn stored_form_reads_back() {
    let caps = [user(Reaction::Shown, 3, Some(10)), user(Reaction::Accepted, 1, None)];
    let tally = state(&caps, &[(Reaction::Shown, WEB, Millis(1)), (Reaction::Accepted, APP, Millis(2))]);
    let stored: CapState = bincode::deserialize(&bincode::serialize(&tally).unwrap()).unwrap();
    assert_eq!(stored, tally);
}

/// The definition itself: counts the log.
fn counted(cap: &Cap, log: &[(Reaction, ChannelSlot, Millis)], now: Millis) -> u64 {
    let young = |t: Millis| cap.within_ms.is_none_or(|within_ms| now < t.plus(within_ms));
    log.iter().filter(|(reaction, channel, t)| cap.counts(*reaction, *channel) && young(*t)).count() as u64
}

fn a_reaction() -> impl Strategy<Value = (Reaction, ChannelSlot, Millis)> {
    let kinds = prop::sample::select(vec![Reaction::Shown, Reaction::Hidden, Reaction::Accepted]);
    (kinds, 0_u16..3, 0_i64..60).prop_map(|(reaction, channel, t)| (reaction, ChannelSlot(channel), Millis(t)))
}

fn a_cap() -> impl Strategy<Value = Cap> {
    let kinds = prop::sample::select(vec![Reaction::Shown, Reaction::Accepted]);
    let channels = prop::sample::subsequence(vec![ChannelSlot(0), ChannelSlot(1), ChannelSlot(2)], 0..3);
    (kinds, 0_u64..5, prop::option::of(1_i64..40), channels).prop_map(|(reaction, count, within_ms, channels)| Cap {
        reaction,
        group: Group::User,
        count,
        within_ms,
        channels: channels.into(),
    })
}

proptest! {
    // In any order of arrival, over any merge: the tally says what counting the log says, and `until` is
    // the first instant at which counting says otherwise.
    #[test]
    fn tally_equals_the_log(
        caps in prop::collection::vec(a_cap(), 1..4),
        log in prop::collection::vec(a_reaction(), 0..30),
        split in 0_usize..30,
        later in 0_i64..60,
    ) {
        let (ours, theirs) = log.split_at(split.min(log.len()));
        let mut tally = state(&caps, ours);
        tally.merge(&state(&caps, theirs));
        prop_assert!(tally.covers(&caps, Group::User));
        let now = Millis(60 + later);
        for cap in &caps {
            let used = counted(cap, &log, now);
            prop_assert_eq!(tally.used(cap, now).min(cap.count), used.min(cap.count));
            let truth = tally.open(cap, now, 0);
            prop_assert_eq!(truth.holds, used < cap.count);
            let flip = (now.0 + 1..now.0 + 120).map(Millis).find(|t| (counted(cap, &log, *t) < cap.count) != truth.holds);
            prop_assert_eq!(truth.until, flip.unwrap_or(Millis::MAX));
        }
    }
}
