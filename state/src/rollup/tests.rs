//! The table and its rows against a recount of every reaction that was ever logged.

use super::bucket::{self, Cyclic, Dates, Resolution};
use super::{Counts, Filter, PEOPLE_MAX, Place, Reach, Rollups, SLOT_MS, Series, Slot, Unique, place_of, row};
use crate::event::{Entry, EntryKind, Occurrence, Props, Reacted, Reaction};
use crate::ids::{ActionSlot, ChannelSlot, EventSlot, Millis, Moment, ProfileId, Seq};
use crate::time::{Date, Zone, format_instant, parse_rfc3339};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn zone(name: &str) -> Zone {
    Zone::parse(name).unwrap()
}

fn at(text: &str) -> Millis {
    parse_rfc3339(text).unwrap()
}

fn date(text: &str) -> Date {
    crate::time::parse_date(text).unwrap()
}

fn dates(start: &str, end: &str) -> Dates {
    Dates { start: date(start), end: date(end) }
}

fn reacted(action: u32, channel: u16, reaction: Reaction, test: bool) -> Reacted {
    Reacted { test, ..Reacted::bare(ActionSlot(action), reaction, ChannelSlot(channel)) }
}

fn entry(t: Millis, kind: EntryKind) -> Entry {
    Entry { moment: Moment { t, seq: Seq(0) }, at: t, user_id: "u".into(), message_id: None, id: 1, kind }
}

fn event() -> EntryKind {
    EntryKind::Event(Occurrence {
        event: EventSlot(0),
        version: 1,
        channel: ChannelSlot(0),
        props: Props::default(),
        context: Props::default(),
        chain: Box::default(),
    })
}

/// The table with its rows, and the journal behind both.
#[derive(Default)]
struct Rig {
    table: Rollups,
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    journal: Vec<(ProfileId, Entry)>,
    /// Reactions taken back: the place in the journal, and the position of the entry that says so.
    erased: Vec<(usize, Seq)>,
    sealed: Seq,
}

impl Rig {
    fn last(&self) -> Seq {
        Seq((self.journal.len() + self.erased.len()) as u64)
    }

    fn log(&mut self, profile: u128, entry: Entry) {
        let seq = Seq(self.last().0 + 1);
        let entry = Entry { moment: Moment { seq, ..entry.moment }, ..entry };
        self.table.count(ProfileId(profile), &entry, seq);
        self.journal.push((ProfileId(profile), entry));
    }

    fn erase(&mut self, which: usize) {
        if self.journal.is_empty() {
            return;
        }
        let which = which % self.journal.len();
        let (profile, entry) = &self.journal[which];
        let EntryKind::Reacted(reacted) = &entry.kind else { return };
        if self.erased.iter().any(|(gone, _)| *gone == which) {
            return;
        }
        let seq = Seq(self.last().0 + 1);
        self.table.uncount(*profile, reacted, entry.moment.t, seq);
        self.erased.push((which, seq));
    }

    fn write(&mut self, upto: Seq) {
        for (key, change) in row::changes(self.table.cut(upto)) {
            match row::changed(self.rows.get(&key).map(Vec::as_slice), &change).unwrap() {
                Some(value) => _ = self.rows.insert(key, value),
                None => _ = self.rows.remove(&key),
            }
        }
        self.table.sealed();
        self.sealed = upto;
    }

    /// The process dies: what is left is the rows, and the journal behind the last seal.
    fn crash(&mut self) {
        self.table = Rollups::default();
        let mut again: Vec<(Seq, usize, bool)> = Vec::new();
        again.extend(self.journal.iter().enumerate().map(|(i, (_, entry))| (entry.moment.seq, i, false)));
        again.extend(self.erased.iter().map(|(i, seq)| (*seq, *i, true)));
        again.sort_unstable();
        for (seq, i, gone) in again.into_iter().filter(|(seq, ..)| *seq > self.sealed) {
            let (profile, entry) = &self.journal[i];
            match (&entry.kind, gone) {
                (EntryKind::Reacted(reacted), true) => self.table.uncount(*profile, reacted, entry.moment.t, seq),
                _ => self.table.count(*profile, entry, seq),
            }
        }
    }

    fn series(&self, filter: &Filter) -> Series {
        let mut series = Series::new();
        let mut add = |place: Place, reaction: usize, by: i64| {
            if filter.takes(place) {
                series.entry(place.slot).or_default()[reaction] += by;
            }
        };
        for day in filter.days() {
            let prefix = row::counters_prefix(day, filter.action);
            for (key, value) in self.rows.range(prefix.clone()..).take_while(|(key, _)| key.starts_with(&prefix)) {
                row::counters(key, value, &mut add).unwrap();
            }
        }
        self.table.unsealed().iter().for_each(|deltas| deltas.counters(&mut add));
        series
    }

    fn events(&self) -> BTreeMap<Slot, i64> {
        let mut events: BTreeMap<Slot, i64> = BTreeMap::new();
        for (key, value) in self.rows.iter().filter(|(key, _)| key[0] == b'e') {
            for (slot, count) in row::events(row::day_of(key).unwrap(), value).unwrap() {
                *events.entry(slot).or_default() += count;
            }
        }
        for deltas in self.table.unsealed() {
            deltas.events().for_each(|(slot, count)| *events.entry(slot).or_default() += count);
        }
        events
    }

    fn unique(&self, filter: &Filter, merged: &BTreeMap<u128, u128>) -> (u64, bool) {
        let mut by_place: BTreeMap<Place, Reach> = BTreeMap::new();
        for day in filter.days() {
            let prefix = row::reach_prefix(day, filter.action);
            for (key, value) in self.rows.range(prefix.clone()..).take_while(|(key, _)| key.starts_with(&prefix)) {
                let (place, reach) = row::reach(key, value).unwrap();
                if filter.takes(place) {
                    by_place.entry(place).or_default().merge(&reach);
                }
            }
        }
        for deltas in self.table.unsealed() {
            deltas.reach(filter).for_each(|(place, reach)| by_place.entry(place).or_default().merge(reach));
        }
        let mut unique = Unique::default();
        for reach in by_place.values() {
            unique.add(reach, &mut |id| ProfileId(*merged.get(&id.0).unwrap_or(&id.0)));
        }
        unique.count()
    }

    /// Every reaction that still stands.
    fn standing(&self) -> impl Iterator<Item = (ProfileId, Millis, &Reacted)> {
        self.journal.iter().enumerate().filter_map(|(i, (profile, entry))| match &entry.kind {
            EntryKind::Reacted(reacted) if !self.erased.iter().any(|(gone, _)| *gone == i) => {
                let counted = !reacted.test && reacted.reaction != Reaction::Withheld;
                counted.then_some((*profile, entry.moment.t, reacted))
            }
            _ => None,
        })
    }
}

const KINDS: [Reaction; 6] =
    [Reaction::Delivered, Reaction::Shown, Reaction::Hidden, Reaction::Declined, Reaction::Accepted, Reaction::Withheld];

#[derive(Clone, Debug)]
enum Step {
    React {
        profile: u128,
        action: u32,
        channel: u16,
        kind: usize,
        test: bool,
        minutes: i64,
    },
    Event {
        minutes: i64,
    },
    Erase(usize),
    /// A checkpoint, with so many reactions stamped between the beginning of its cut and the position that
    /// it seals, and so many behind it.
    Seal {
        before: u8,
        behind: u8,
    },
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    // Around the day on which Berlin's clocks go forward, and New York's have.
    let minutes = 0_i64..6 * 1440;
    prop_oneof![
        8 => (0..6_u128, 0..3_u32, 0..2_u16, 0..KINDS.len(), prop::bool::weighted(0.1), minutes.clone())
            .prop_map(|(profile, action, channel, kind, test, minutes)| Step::React { profile, action, channel, kind, test, minutes }),
        2 => minutes.prop_map(|minutes| Step::Event { minutes }),
        2 => any::<usize>().prop_map(Step::Erase),
        2 => (0..3_u8, 0..3_u8).prop_map(|(before, behind)| Step::Seal { before, behind }),
        1 => Just(Step::Crash),
    ]
}

fn take(rig: &mut Rig, step: Step, base: Millis) {
    match step {
        Step::React { profile, action, channel, kind, test, minutes } => {
            let reaction = EntryKind::Reacted(reacted(action, channel, KINDS[kind], test));
            rig.log(profile, entry(base.plus(minutes * 60_000), reaction));
        }
        Step::Event { minutes } => rig.log(1, entry(base.plus(minutes * 60_000), event())),
        Step::Erase(which) => rig.erase(which),
        Step::Seal { before, behind } => {
            let more = |rig: &mut Rig, n: u8| {
                for i in 0..n {
                    let kind = EntryKind::Reacted(reacted(u32::from(i), 0, Reaction::Delivered, false));
                    rig.log(u128::from(i), entry(base.plus(i64::from(i) * SLOT_MS), kind));
                }
            };
            rig.table.begin();
            more(rig, before);
            let upto = rig.last();
            more(rig, behind);
            rig.write(upto);
        }
        Step::Crash => rig.crash(),
    }
}

proptest! {
    /// T-83 to T-85 over any history: what is read equals a recount of the list of reactions, in every zone,
    /// over every cut, crash and erasure, and merged people are one.
    #[test]
    fn rollups_equal_a_recount(steps in prop::collection::vec(step(), 0..60), merge in prop::collection::vec((0..6_u128, 0..6_u128), 0..3)) {
        let base = at("2024-03-28T00:00:00Z");
        let mut rig = Rig::default();
        for step in steps {
            take(&mut rig, step, base);
            let events = rig.journal.iter().filter(|(_, entry)| matches!(entry.kind, EntryKind::Event(_))).count();
            prop_assert_eq!(rig.events().values().sum::<i64>(), events as i64);
        }
        // Chains end at the smallest id: each merge is of a larger id into a smaller.
        let mut merged: BTreeMap<u128, u128> = BTreeMap::new();
        for (a, b) in merge {
            let leader = |id: u128| *merged.get(&id).unwrap_or(&id);
            let (a, b) = (leader(a.max(b)), leader(a.min(b)));
            if a != b {
                merged.values_mut().filter(|to| **to == a).for_each(|to| *to = b);
                merged.insert(a, b);
            }
        }
        for name in ["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/New_York", "Australia/Lord_Howe"] {
            let zone = zone(name);
            let range = dates("2024-03-29", "2024-04-01");
            let (from, to) = bucket::slots(&zone, range);
            for (action, channel) in [(None, None), (Some(ActionSlot(1)), None), (None, Some(ChannelSlot(1))), (Some(ActionSlot(0)), Some(ChannelSlot(0)))] {
                let filter = Filter { from, to, action, channel };
                let wanted = |reacted: &Reacted, t: Millis| {
                    let day = zone.date(t);
                    (range.start..=range.end).contains(&day)
                        && action.is_none_or(|wanted| wanted == reacted.action)
                        && channel.is_none_or(|wanted| wanted == reacted.channel)
                };
                let series = rig.series(&filter);
                for resolution in [Resolution::Hour, Resolution::Day, Resolution::Week, Resolution::Month, Resolution::Year] {
                    let buckets = bucket::buckets(&zone, range, resolution).unwrap();
                    let mut recount = vec![Counts::default(); buckets.len()];
                    for (_, t, reacted) in rig.standing().filter(|(_, t, reacted)| wanted(reacted, *t)) {
                        let at = buckets.iter().position(|bucket| bucket.start <= t && t < bucket.end).unwrap();
                        recount[at][place_of(reacted.reaction).unwrap()] += 1;
                    }
                    prop_assert_eq!(bucket::sums(&buckets, &series), recount, "{} {:?}", name, resolution);
                }
                for cyclic in [Cyclic::Weekday, Cyclic::HourOfDay] {
                    let mut recount = vec![Counts::default(); cyclic.labels().len()];
                    for (_, t, reacted) in rig.standing().filter(|(_, t, reacted)| wanted(reacted, *t)) {
                        let local = zone.local(t);
                        let at = if cyclic == Cyclic::HourOfDay { local.hour() } else { local.date().weekday().to_monday_zero_offset() };
                        recount[usize::try_from(at).unwrap()][place_of(reacted.reaction).unwrap()] += 1;
                    }
                    prop_assert_eq!(bucket::cyclic_sums(&zone, cyclic, &series), recount);
                }
                let people: BTreeSet<u128> = rig.standing()
                    .filter(|(_, t, reacted)| reacted.reaction == Reaction::Delivered && wanted(reacted, *t))
                    .map(|(profile, ..)| *merged.get(&profile.0).unwrap_or(&profile.0)).collect();
                prop_assert_eq!(rig.unique(&filter, &merged), (people.len() as u64, false));
            }
        }
        // What is erased leaves nothing behind, not even an id.
        for which in 0..rig.journal.len() {
            rig.erase(which);
        }
        rig.table.begin();
        let upto = rig.last();
        rig.write(upto);
        prop_assert!(rig.rows.keys().all(|key| key[0] == b'e'), "{:?}", rig.rows);
    }
}

/// T-83: a local day begins where it begins here, and the day on which clocks go forward has 23 hours.
#[test]
fn t_83_local_days_and_the_hours_of_a_short_one() {
    let berlin = zone("Europe/Berlin");
    let mut rig = Rig::default();
    for t in ["2024-02-29T22:59:00Z", "2024-02-29T23:00:00Z"] {
        rig.log(1, entry(at(t), EntryKind::Reacted(reacted(0, 0, Reaction::Shown, false))));
    }
    let range = dates("2024-02-29", "2024-03-01");
    let (from, to) = bucket::slots(&berlin, range);
    let series = rig.series(&Filter { from, to, action: None, channel: None });
    let buckets = bucket::buckets(&berlin, range, Resolution::Day).unwrap();
    let shown: Vec<_> =
        buckets.iter().zip(bucket::sums(&buckets, &series)).map(|(b, sums)| (b.label.as_str(), sums[1])).collect();
    assert_eq!(shown, [("2024-02-29", 1), ("2024-03-01", 1)]);

    let hours = |day: &str| bucket::buckets(&berlin, dates(day, day), Resolution::Hour).unwrap();
    assert_eq!((hours("2024-03-30").len(), hours("2024-03-31").len(), hours("2024-10-27").len()), (24, 23, 25));
    let labels: Vec<String> = hours("2024-03-31").into_iter().take(4).map(|hour| hour.label).collect();
    assert_eq!(labels, ["2024-03-31T00:00+01:00", "2024-03-31T01:00+01:00", "2024-03-31T03:00+02:00", "2024-03-31T04:00+02:00"]);
    let labels: Vec<String> = hours("2024-10-27").into_iter().skip(1).take(3).map(|hour| hour.label).collect();
    assert_eq!(labels, ["2024-10-27T01:00+02:00", "2024-10-27T02:00+02:00", "2024-10-27T02:00+01:00"]);
}

/// Weeks begin on Monday; the first and the last bucket are cut to the range; nothing is left out between.
#[test]
fn buckets_are_real_and_cover_the_range() {
    let zone = zone("Europe/Berlin");
    let labels = |range, resolution| -> Vec<String> {
        let buckets = bucket::buckets(&zone, range, resolution).unwrap();
        let (start, end) = range.span(&zone);
        assert_eq!((buckets[0].start, buckets[buckets.len() - 1].end), (start, end));
        assert!(buckets.windows(2).all(|pair| pair[0].end == pair[1].start));
        buckets.into_iter().map(|bucket| bucket.label).collect()
    };
    assert_eq!(labels(dates("2024-12-28", "2025-01-06"), Resolution::Week), ["2024-W52", "2025-W01", "2025-W02"]);
    assert_eq!(labels(dates("2024-01-31", "2024-03-01"), Resolution::Month), ["2024-01", "2024-02", "2024-03"]);
    assert_eq!(labels(dates("2023-12-31", "2024-01-01"), Resolution::Year), ["2023", "2024"]);
    assert!(bucket::buckets(&zone, dates("2000-01-01", "2024-01-01"), Resolution::Hour).is_none());
    let first = &bucket::buckets(&zone, dates("2024-03-31", "2024-03-31"), Resolution::Day).unwrap()[0];
    assert_eq!(format_instant(first.start), "2024-03-30T23:00:00.000Z");
    assert_eq!(bucket::local_text(first.start, &zone), "2024-03-31T00:00:00+01:00");
    assert_eq!(bucket::local_text(first.end, &zone), "2024-04-01T00:00:00+02:00");
}

/// T-85: three deliveries to one person reach one. Past the bound of a slot it is an estimate, over slots and
/// seals alike, and it is close.
#[test]
fn t_85_reach_is_people_and_past_its_bound_an_estimate() {
    let base = at("2024-03-28T00:00:00Z");
    let all = Filter { from: Slot::of(base), to: Slot(Slot::of(base).0 + 96), action: None, channel: None };
    let mut rig = Rig::default();
    let delivered = || EntryKind::Reacted(reacted(0, 0, Reaction::Delivered, false));
    for minutes in [0, 1, 40] {
        rig.log(7, entry(base.plus(minutes * 60_000), delivered()));
    }
    let none = BTreeMap::new();
    assert_eq!(rig.unique(&all, &none), (1, false));
    assert_eq!(rig.series(&all).values().map(|counts| counts[0]).sum::<i64>(), 3);

    let people = PEOPLE_MAX as u128;
    for profile in 0..people {
        rig.log(profile, entry(base, delivered()));
    }
    assert_eq!(rig.unique(&all, &none), (PEOPLE_MAX as u64, false));
    rig.table.begin();
    let upto = rig.last();
    rig.write(upto);
    for profile in people / 2..3 * people {
        rig.log(profile, entry(base.plus(60_000), delivered()));
    }
    rig.crash();
    let (estimate, approximate) = rig.unique(&all, &none);
    let off = estimate.abs_diff(3 * PEOPLE_MAX as u64);
    assert!(approximate && off < 3 * PEOPLE_MAX as u64 / 30, "{estimate}");
    rig.table.begin();
    let upto = rig.last();
    rig.write(upto);
    assert_eq!(rig.unique(&all, &none), (estimate, true));
}

/// A cut takes exactly what lies before its position, whatever was stamped meanwhile.
#[test]
fn a_cut_is_exact() {
    let table = Rollups::default();
    let shown = |seq: u64| {
        let entry = entry(Millis(0), EntryKind::Reacted(reacted(0, 0, Reaction::Shown, false)));
        table.count(ProfileId(1), &entry, Seq(seq));
    };
    shown(1);
    table.begin();
    shown(2);
    shown(3);
    let rows = row::changes(table.cut(Seq(2)));
    let count = || {
        let mut shown = 0;
        table.unsealed().iter().for_each(|deltas| deltas.counters(&mut |_, _, by| shown += by));
        shown
    };
    assert_eq!(count(), 3, "until it is sealed a look finds it here");
    table.sealed();
    assert_eq!(count(), 1);
    let (key, change) = rows.iter().next().unwrap();
    let value = row::changed(None, change).unwrap().unwrap();
    let mut found = Vec::new();
    row::counters(key, &value, &mut |place, reaction, count| found.push((place.slot, reaction, count))).unwrap();
    assert_eq!(found, [(Slot(0), 1, 2)]);
    assert_eq!(table.live().reactions.values().sum::<u64>(), 3);
}

/// Pinned: these bytes are on people's disks.
#[test]
fn keys_are_pinned() {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    assert_eq!(hex(&row::counters_prefix(-1, Some(ActionSlot(2)))), "637fffffff00000002");
    assert_eq!(hex(&row::events_key(1)), "6580000001");
    let table = Rollups::default();
    let entry = entry(Millis(SLOT_MS * 97), EntryKind::Reacted(reacted(2, 3, Reaction::Delivered, false)));
    table.count(ProfileId(1), &entry, Seq(1));
    let keys: Vec<String> = row::changes(table.cut(Seq(1))).keys().map(|key| hex(key)).collect();
    assert_eq!(keys, ["6380000001000000020003", "728000000100000002000301"]);
}
