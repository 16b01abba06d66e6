//! How often people reacted, how many people were reached, and what came in: read by slots of a quarter of
//! an hour.
//!
//! The counters themselves are in [`lodestone_state::rollup`]. A checkpoint writes those that changed in the
//! batch that seals it, so that rows hold exactly what the seal covers and the journal gives back the rest.

use super::Engine;
use crate::storage::{self, CheckpointMeta, Row, Rows};
use lodestone_state::action::State;
use lodestone_state::event::{Reacted, Reaction};
use lodestone_state::ids::{ChannelSlot, Millis, ProfileId, Seq};
use lodestone_state::rollup::bucket::{self, Bucket};
use lodestone_state::rollup::{Deltas, Filter, Live, Place, Reach, Rollups, Series, Slot, Unique, place_of, row};
use parking_lot::RwLock;
use std::collections::BTreeMap;

/// Counters of the analysis, and what keeps a look consistent.
#[derive(Default)]
pub(super) struct Analysis {
    pub(super) rollups: Rollups,
    /// Held for reading while rows and memory are added up, for writing while counters go from one to the
    /// other: a look sees every reaction once.
    gate: RwLock<()>,
}

/// A cut on its way into a seal.
pub(super) struct Cut {
    /// The position to seal.
    pub(super) upto: Seq,
    deltas: Deltas,
}

/// How many were reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// Deliveries.
    pub total: i64,
    /// People.
    pub unique: u64,
    /// Whether `unique` is an estimate.
    pub approximate: bool,
}

/// Who was reached over a range.
#[derive(Clone, Debug, Default)]
pub struct Reaches {
    /// In all.
    pub all: Reached,
    /// By channel, where there was anybody.
    pub channels: BTreeMap<ChannelSlot, Reached>,
    /// By bucket.
    pub buckets: Vec<Reached>,
}

impl Engine {
    /// The journal's position that a checkpoint seals, with what was counted up to there.
    pub(super) fn cut_rollups(&self) -> Cut {
        let _gate = self.analysis.gate.write();
        self.analysis.rollups.begin();
        // Asked for after the cut began: whatever was counted before lies before it.
        let upto = self.journal.last();
        Cut { upto, deltas: self.analysis.rollups.cut(upto) }
    }

    /// Seals a checkpoint together with `rows` and the counters of `cut`.
    pub(super) fn seal_rollups(&self, meta: &CheckpointMeta, mut rows: Vec<Row>, cut: Cut) -> Result<(), storage::Error> {
        for (key, change) in row::changes(cut.deltas) {
            let stored = self.disk.row(Rows::Rollups, &key)?;
            let value = row::changed(stored.as_deref(), &change).map_err(corrupt)?;
            rows.push(Row { rows: Rows::Rollups, key, value });
        }
        let _gate = self.analysis.gate.write();
        self.disk.seal_with(meta, &rows)?;
        self.analysis.rollups.sealed();
        Ok(())
    }

    /// Takes a reaction back that leaves the log at `seq`, the position of the entry that says so. Call it
    /// in the moment that the position is given, and when that entry is replayed: rows hold only what a seal
    /// covers, so each counts once.
    pub fn uncount_reaction(&self, profile: ProfileId, reacted: &Reacted, t: Millis, seq: Seq) {
        self.analysis.rollups.uncount(profile, reacted, t, seq);
    }

    /// How often people reacted, by slot.
    ///
    /// # Errors
    /// A fault of the store.
    pub fn reactions_by_slot(&self, filter: &Filter) -> Result<Series, storage::Error> {
        let _gate = self.analysis.gate.read();
        let mut series = Series::new();
        self.each_counter(filter, &mut |place, reaction, by| series.entry(place.slot).or_default()[reaction] += by)?;
        Ok(series)
    }

    /// How many were reached: in all, by channel, and in each of `buckets`. A person counts once wherever
    /// they were reached, and people who were merged are one.
    ///
    /// # Errors
    /// A fault of the store.
    pub fn reach(&self, filter: &Filter, buckets: &[Bucket]) -> Result<Reaches, storage::Error> {
        let mut found = Gathered::new(buckets);
        let delivered = place_of(Reaction::Delivered);
        let mut resolve = |id: ProfileId| self.store.resolve(id);
        let _gate = self.analysis.gate.read();
        self.each_counter(filter, &mut |place, reaction, by| {
            if Some(reaction) == delivered {
                found.deliver(place, by);
            }
        })?;
        // Somebody may be taken back in memory who stands in a row: only the sum says who was reached.
        let mut unsealed: BTreeMap<Place, Reach> = BTreeMap::new();
        for deltas in self.analysis.rollups.unsealed() {
            deltas.reach(filter).for_each(|(place, reach)| unsealed.entry(place).or_default().merge(reach));
        }
        for day in filter.days() {
            self.each_row(&row::reach_prefix(day, filter.action), |key, value| {
                let (place, mut reach) = row::reach(key, value).map_err(corrupt)?;
                if filter.takes(place) {
                    if let Some(more) = unsealed.remove(&place) {
                        reach.merge(&more);
                    }
                    found.add(place, &reach, &mut resolve);
                }
                Ok(())
            })?;
        }
        unsealed.iter().for_each(|(place, reach)| found.add(*place, reach, &mut resolve));
        Ok(found.finish())
    }

    /// How many events were accepted, by slot of their arrival, from `from` on and before `to`.
    ///
    /// # Errors
    /// A fault of the store.
    pub fn events_by_slot(&self, from: Slot, to: Slot) -> Result<BTreeMap<Slot, i64>, storage::Error> {
        let filter = Filter { from, to, action: None, channel: None };
        let _gate = self.analysis.gate.read();
        let mut events = BTreeMap::new();
        let mut add = |slot: Slot, count: i64| {
            if (from..to).contains(&slot) {
                *events.entry(slot).or_default() += count;
            }
        };
        for day in filter.days() {
            if let Some(value) = self.disk.row(Rows::Rollups, &row::events_key(day))? {
                row::events(day, &value).map_err(corrupt)?.into_iter().for_each(|(slot, count)| add(slot, count));
            }
        }
        for deltas in self.analysis.rollups.unsealed() {
            deltas.events().for_each(|(slot, count)| add(slot, count));
        }
        Ok(events)
    }

    /// How many people were seen for the first time, by slot, from `from` on and before `to`. Of people who
    /// were merged only the first sight counts. Looks at every profile.
    #[must_use]
    pub fn profiles_by_slot(&self, from: Slot, to: Slot) -> BTreeMap<Slot, i64> {
        let mut profiles = BTreeMap::new();
        for shared in self.store.all() {
            let profile = shared.lock();
            let slot = Slot::of(profile.core.created_at);
            if profile.gone.is_none() && (from..to).contains(&slot) {
                *profiles.entry(slot).or_default() += 1;
            }
        }
        profiles
    }

    /// What was counted since the process began: for differences between two looks.
    #[must_use]
    pub fn counted(&self) -> Live {
        self.analysis.rollups.live()
    }

    /// People, and actions that are due to anyone: `(profiles, active actions)`.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize) {
        let plan = self.plan.load();
        let active = plan.actions.iter().flatten().filter(|action| action.def.state == State::Active).count();
        (self.store.len(), active)
    }

    /// How many members an audience has right now, by its key.
    #[must_use]
    pub fn member_count(&self, key: &str) -> Option<i64> {
        let plan = self.plan.load();
        plan.audience_by_key(key).map(|audience| self.members.count(audience.slot))
    }

    /// Hands every counter that `filter` takes to `each`, sealed or not. The caller holds the gate.
    fn each_counter(&self, filter: &Filter, each: &mut dyn FnMut(Place, usize, i64)) -> Result<(), storage::Error> {
        let mut wanted = |place: Place, reaction: usize, by: i64| {
            if filter.takes(place) {
                each(place, reaction, by);
            }
        };
        for day in filter.days() {
            self.each_row(&row::counters_prefix(day, filter.action), |key, value| {
                row::counters(key, value, &mut wanted).map_err(corrupt)
            })?;
        }
        self.analysis.rollups.unsealed().iter().for_each(|deltas| deltas.counters(&mut wanted));
        Ok(())
    }

    fn each_row(
        &self,
        prefix: &[u8],
        mut each: impl FnMut(&[u8], &[u8]) -> Result<(), storage::Error>,
    ) -> Result<(), storage::Error> {
        let mut outcome = Ok(());
        self.disk.rows(Rows::Rollups, prefix, |key, value| {
            outcome = each(key, value);
            outcome.is_ok()
        })?;
        outcome
    }
}

/// What [`Engine::reach`] adds up.
struct Gathered<'a> {
    spans: &'a [Bucket],
    all: (i64, Unique),
    channels: BTreeMap<ChannelSlot, (i64, Unique)>,
    buckets: Vec<(i64, Unique)>,
}

impl<'a> Gathered<'a> {
    fn new(spans: &'a [Bucket]) -> Self {
        let buckets = spans.iter().map(|_| <_>::default()).collect();
        Self { spans, all: <_>::default(), channels: BTreeMap::new(), buckets }
    }

    fn deliver(&mut self, place: Place, by: i64) {
        self.all.0 += by;
        self.channels.entry(place.channel).or_default().0 += by;
        if let Some(at) = bucket::find(self.spans, place.slot) {
            self.buckets[at].0 += by;
        }
    }

    fn add(&mut self, place: Place, reach: &Reach, resolve: &mut dyn FnMut(ProfileId) -> ProfileId) {
        self.all.1.add(reach, resolve);
        self.channels.entry(place.channel).or_default().1.add(reach, resolve);
        if let Some(at) = bucket::find(self.spans, place.slot) {
            self.buckets[at].1.add(reach, resolve);
        }
    }

    fn finish(self) -> Reaches {
        let reached = |(total, unique): &(i64, Unique)| {
            let (unique, approximate) = unique.count();
            Reached { total: *total, unique, approximate }
        };
        let channels = self.channels.iter().map(|(channel, both)| (*channel, reached(both)));
        Reaches {
            all: reached(&self.all),
            channels: channels.filter(|(_, reached)| reached.total != 0).collect(),
            buckets: self.buckets.iter().map(reached).collect(),
        }
    }
}

fn corrupt(error: lodestone_state::codec::CodecError) -> storage::Error {
    storage::Error::Corrupt { what: "a row of the analysis", reason: error.to_string() }
}
