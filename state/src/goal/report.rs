//! Adds up what profiles hold of a goal.
//!
//! A [`Tally`] takes in one profile after the other and can be merged with another, so that several threads
//! may share the profiles. Everything is a sum of whole numbers: the order does not show.

use super::{Cost, GoalDef, GoalState, Micros, Model};
use crate::ids::{ActionSlot, ChannelSlot, Millis};
use crate::rollup::bucket::Bucket;
use compact_str::CompactString;
use smallvec::SmallVec;
use std::collections::{BTreeMap, HashMap};

/// What rows stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Actions.
    Action,
    /// Campaigns: all actions that name the same one, and those that name none.
    Campaign,
    /// Channels.
    Channel,
}

impl By {
    /// By the word of the interface.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "action" => Some(Self::Action),
            "campaign" => Some(Self::Campaign),
            "channel" => Some(Self::Channel),
            _ => None,
        }
    }

    /// The word of the interface.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Action => "action",
            Self::Campaign => "campaign",
            Self::Channel => "channel",
        }
    }
}

/// One row: an action, a campaign or a channel, as a number.
pub type RowId = u32;

/// Which row an action on a channel belongs to.
pub struct Rows {
    by: By,
    /// Names of the campaigns, sorted; the row of those without one is the number of names.
    campaigns: Vec<CompactString>,
    of_action: HashMap<ActionSlot, RowId>,
}

impl Rows {
    /// The rows of a question. `actions` are all actions that have one, with their campaign.
    pub fn new(by: By, actions: impl Iterator<Item = (ActionSlot, Option<CompactString>)>) -> Self {
        let actions: Vec<_> = actions.collect();
        let mut campaigns: Vec<CompactString> = actions.iter().filter_map(|(_, campaign)| campaign.clone()).collect();
        campaigns.sort_unstable();
        campaigns.dedup();
        let row = |campaign: &CompactString| campaigns.binary_search(campaign).ok().and_then(|at| RowId::try_from(at).ok());
        let of_action = actions.iter().filter_map(|(slot, campaign)| Some((*slot, row(campaign.as_ref()?)?))).collect();
        Self { by, campaigns, of_action }
    }

    /// What the rows stand for.
    #[must_use]
    pub fn by(&self) -> By {
        self.by
    }

    /// The row of an action on a channel.
    #[must_use]
    pub fn of(&self, action: ActionSlot, channel: ChannelSlot) -> RowId {
        match self.by {
            By::Action => action.0,
            By::Channel => u32::from(channel.0),
            By::Campaign => self.of_action.get(&action).copied().unwrap_or(self.campaigns.len() as RowId),
        }
    }

    /// The campaign of a row; `None` for those without one.
    #[must_use]
    pub fn campaign(&self, row: RowId) -> Option<&str> {
        self.campaigns.get(row as usize).map(CompactString::as_str)
    }
}

/// What is asked.
pub struct Question<'a> {
    /// The goal.
    pub def: &'a GoalDef,
    /// How credit is shared.
    pub model: Model,
    /// The rows.
    pub rows: &'a Rows,
    /// The buckets, in order, without gaps.
    pub buckets: &'a [Bucket],
}

/// The sums of one row, or of one bucket of a row. Amounts are in millionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Conversions of which it has a share.
    pub conversions: u64,
    /// Its shares of them.
    pub credited: i128,
    /// Its shares of what they are worth.
    pub revenue: i128,
    /// What its actions cost, in the goal's currency.
    pub cost: i128,
    /// People whom it touched.
    pub touched: u64,
}

impl Sums {
    fn add(&mut self, other: &Self) {
        self.conversions += other.conversions;
        self.credited += other.credited;
        self.revenue += other.revenue;
        self.cost += other.cost;
        self.touched += other.touched;
    }

    /// `(revenue − cost) / cost` in ten-thousandths, half away from zero; `None` where it cost nothing.
    #[must_use]
    pub fn roi(&self) -> Option<i128> {
        divided((self.revenue - self.cost) * 10_000, self.cost)
    }

    /// Credited conversions for each person touched, in millionths, half away from zero; `None` where nobody
    /// was.
    #[must_use]
    pub fn rate(&self) -> Option<i128> {
        divided(self.credited, i128::from(self.touched))
    }
}

/// `above / below`, rounded half away from zero.
fn divided(above: i128, below: i128) -> Option<i128> {
    if below <= 0 {
        return None;
    }
    let half = if above < 0 { -below / 2 } else { below / 2 };
    Some((above + half) / below)
}

/// One row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// All of it. People are counted once here, also if several buckets have them.
    pub all: Sums,
    /// By bucket, those that are not empty.
    pub buckets: BTreeMap<usize, Sums>,
    /// What its actions cost in other currencies.
    pub other_costs: BTreeMap<Option<CompactString>, i128>,
}

impl Line {
    fn at(&mut self, bucket: usize, f: impl Fn(&mut Sums)) {
        f(&mut self.all);
        f(self.buckets.entry(bucket).or_default());
    }

    fn merge(&mut self, other: &Self) {
        self.all.add(&other.all);
        for (bucket, sums) in &other.buckets {
            self.buckets.entry(*bucket).or_default().add(sums);
        }
        for (currency, cost) in &other.other_costs {
            *self.other_costs.entry(currency.clone()).or_default() += cost;
        }
    }
}

/// What a report adds up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// The rows that have anything.
    pub rows: BTreeMap<RowId, Line>,
    /// All conversions, whoever is credited.
    pub all: Line,
    /// Those that nobody is credited for.
    pub unattributed: Line,
    /// Touches and conversions that profiles do not keep any more, of any time.
    pub dropped: (u64, u64),
    /// Where each action first had anything in the range: bucket and channel.
    first: BTreeMap<ActionSlot, (usize, ChannelSlot)>,
}

impl Tally {
    /// Takes in what one profile holds.
    pub fn add(&mut self, question: &Question<'_>, state: &GoalState) {
        let (touches, conversions) = state.dropped();
        self.dropped = (self.dropped.0 + touches, self.dropped.1 + conversions);
        let mut touched: Vec<(RowId, usize)> = Vec::new();
        for touch in state.touches() {
            if let Some(at) = bucket_of(question.buckets, touch.moment.t) {
                touched.push((question.rows.of(touch.action, touch.channel), at));
                self.seen(touch.action, touch.channel, at);
            }
        }
        touched.sort_unstable();
        touched.dedup();
        for (row, at) in &touched {
            self.rows.entry(*row).or_default().buckets.entry(*at).or_default().touched += 1;
        }
        touched.dedup_by_key(|(row, _)| *row);
        for (row, _) in &touched {
            self.rows.entry(*row).or_default().all.touched += 1;
        }
        self.all.all.touched += u64::from(!touched.is_empty());
        for conversion in state.conversions() {
            let Some(at) = bucket_of(question.buckets, conversion.moment.t) else { continue };
            let worth = conversion.value.unwrap_or_default();
            let whole = |sums: &mut Sums| {
                sums.conversions += 1;
                sums.credited += i128::from(Micros::ONE.0);
                sums.revenue += i128::from(worth.0);
            };
            self.all.at(at, whole);
            if conversion.seen.is_empty() {
                self.unattributed.at(at, whole);
                continue;
            }
            let mut have: SmallVec<[RowId; 4]> = SmallVec::new();
            conversion.seen.share(question.model, Micros::ONE, &mut |group, share| {
                let row = question.rows.of(group.action, group.channel);
                let first = !have.contains(&row);
                have.push(row);
                self.seen(group.action, group.channel, at);
                self.rows.entry(row).or_default().at(at, |sums| {
                    sums.conversions += u64::from(first);
                    sums.credited += i128::from(share.0);
                });
            });
            conversion.seen.share(question.model, worth, &mut |group, share| {
                let row = question.rows.of(group.action, group.channel);
                self.rows.entry(row).or_default().at(at, |sums| sums.revenue += i128::from(share.0));
            });
        }
    }

    /// Takes in what another one added up of other profiles.
    pub fn merge(&mut self, other: &Self) {
        for (row, line) in &other.rows {
            self.rows.entry(*row).or_default().merge(line);
        }
        self.all.merge(&other.all);
        self.unattributed.merge(&other.unattributed);
        self.dropped = (self.dropped.0 + other.dropped.0, self.dropped.1 + other.dropped.1);
        for (action, (at, channel)) in &other.first {
            self.seen(*action, *channel, *at);
        }
    }

    /// Notes that an action had something in a bucket.
    pub fn seen(&mut self, action: ActionSlot, channel: ChannelSlot, at: usize) {
        let first = self.first.entry(action).or_insert((at, channel));
        *first = (*first).min((at, channel));
    }

    /// Adds what an action's deliveries and acceptances on a channel in one bucket cost.
    pub fn spend(
        &mut self,
        question: &Question<'_>,
        action: ActionSlot,
        channel: ChannelSlot,
        at: usize,
        cost: &Cost,
        counts: (i64, i64),
    ) {
        self.seen(action, channel, at);
        let delivered = i128::from(cost.per_delivered.0) * i128::from(counts.0.max(0));
        let accepted = i128::from(cost.per_accepted.0) * i128::from(counts.1.max(0));
        self.charge(question, question.rows.of(action, channel), cost, at, delivered + accepted);
    }

    /// Adds what actions cost once: each where it first had anything, so that the buckets of a row add up to
    /// the row. Call it last. An action that had nothing in the range costs nothing.
    pub fn charge_fixed<'c>(&mut self, question: &Question<'_>, costs: impl Iterator<Item = (ActionSlot, &'c Cost)>) {
        for (action, cost) in costs {
            if let Some((at, channel)) = self.first.get(&action).copied() {
                self.charge(question, question.rows.of(action, channel), cost, at, i128::from(cost.fixed.0));
            }
        }
    }

    fn charge(&mut self, question: &Question<'_>, row: RowId, cost: &Cost, at: usize, amount: i128) {
        if amount == 0 {
            return;
        }
        for line in [self.rows.entry(row).or_default(), &mut self.all] {
            if cost.currency == question.def.currency {
                line.at(at, |sums| sums.cost += amount);
            } else {
                *line.other_costs.entry(cost.currency.clone()).or_default() += amount;
            }
        }
    }
}

/// The bucket of an instant.
#[must_use]
pub fn bucket_of(buckets: &[Bucket], t: Millis) -> Option<usize> {
    let after = buckets.partition_point(|bucket| bucket.start <= t);
    after.checked_sub(1).filter(|at| t < buckets[*at].end)
}
