//! The stream of decisions about one profile, and its hash.

use super::check::{Doubts, Found, Judge};
use super::past::{AsOf, PastTotals, Upto};
use crate::action::{Decision, Reason, State, View};
use crate::event::{Arm, Entry, EntryKind, Props};
use crate::ids::{ActionSlot, ChannelSlot, Millis, ProfileId, Seq};
use crate::machine::{Changes, ProfileFacts, ProfilePerson, Watch, touched};
use crate::plan::{ActionPlan, Plan};
use crate::profile::Profile;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What a replay works with: the same for all profiles.
#[derive(Debug)]
pub struct Setting<'a> {
    /// Decisions and reactions from here on are told.
    pub from: Millis,
    /// Before this.
    pub to: Millis,
    /// What everybody had reacted.
    pub past: &'a PastTotals,
    /// When an action, or what it depends on, was changed last.
    pub changed: &'a HashMap<ActionSlot, Millis>,
}

/// What was decided about one action in one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    No,
    Due(Option<Arm>),
    /// Due, but held back by an experiment.
    Withheld,
}

/// The last decision about one action in one channel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    answer: Answer,
    /// When that may change by itself.
    until: Millis,
    /// Until when it was last known to be due, or held back.
    due: Option<Millis>,
    withheld: Option<Millis>,
}

impl Standing {
    /// The last instant at which it was due, or held back; the end of time if it still is.
    pub(super) fn last(&self, withheld: bool) -> Option<Millis> {
        let (stands, last) = match withheld {
            true => (self.answer == Answer::Withheld, self.withheld),
            false => (matches!(self.answer, Answer::Due(_)), self.due),
        };
        if stands { Some(Millis::MAX) } else { last }
    }
}

/// Watches one profile's log go by; give one to each that [`crate::machine::arrivals`] asks for.
///
/// A decision is noted when it differs from the last one about the same action and channel; for an action
/// that waits for an event, whenever such an event comes and it is due. At `from` everything that stands is
/// noted once more.
pub struct Decisions<'a> {
    profile: ProfileId,
    setting: &'a Setting<'a>,
    judge: Judge<'a>,
    standing: BTreeMap<(ActionSlot, ChannelSlot), Standing>,
    /// The context of the last event in each channel.
    contexts: BTreeMap<ChannelSlot, Props>,
    looked: bool,
    opened: bool,
    hash: Sha256,
    noted: u64,
}

impl<'a> Decisions<'a> {
    /// Nothing seen so far.
    #[must_use]
    pub fn new(profile: ProfileId, setting: &'a Setting<'a>, doubts: &'a Doubts) -> Self {
        Self {
            profile,
            setting,
            judge: Judge::new(profile, setting, doubts),
            standing: BTreeMap::new(),
            contexts: BTreeMap::new(),
            looked: false,
            opened: false,
            hash: Sha256::new(),
            noted: 0,
        }
    }

    /// How many decisions were noted, and their SHA-256.
    #[must_use]
    pub fn hash(&self) -> (u64, [u8; 32]) {
        (self.noted, self.hash.clone().finalize().into())
    }

    /// What became of the comparison with the reactions in the log.
    #[must_use]
    pub fn found(self) -> Found {
        self.judge.found
    }

    /// Decides the actions that `changes` can have touched, and those whose time has come.
    fn decide(&mut self, plan: &Plan, profile: &Profile, changes: &Changes, context: Option<ChannelSlot>, upto: Upto) {
        let now = profile.core.clock;
        let begins = !self.opened && now >= self.setting.from;
        if begins {
            self.opened = true;
            self.standing.values_mut().for_each(|standing| standing.answer = Answer::No);
        }
        let all = begins || !std::mem::replace(&mut self.looked, true);
        let totals = self.setting.past.upto(upto);
        let touched = if all { None } else { touched(plan, changes) };
        let ripe: BTreeSet<ActionSlot> =
            self.standing.iter().filter(|(_, one)| one.until <= now).map(|((action, _), _)| *action).collect();
        let reads = |action: &ActionPlan| context.is_some_and(|channel| action.def.reads_context(channel));
        let wanted = |action: &&ActionPlan| match &touched {
            None => true,
            // What others took of a total is seen at the person's own next step.
            Some(slots) => {
                slots.contains(&action.slot) || ripe.contains(&action.slot) || action.def.has_total_caps() || reads(action)
            }
        };
        let running = plan.actions.iter().flatten().filter(|action| action.def.state != State::Inactive);
        for action in running.filter(wanted) {
            let momentary = !action.def.on_event.is_empty();
            let its_event = changes.event.is_some_and(|event| action.def.on_event.contains(&event));
            if momentary && !its_event {
                continue;
            }
            for &channel in &action.def.channels {
                self.decide_in(plan, profile, action, channel, &totals, now);
            }
        }
    }

    fn decide_in(
        &mut self,
        plan: &Plan,
        profile: &Profile,
        action: &ActionPlan,
        channel: ChannelSlot,
        totals: &AsOf<'_>,
        now: Millis,
    ) {
        if plan.channels.get(channel.index()).is_none_or(Option::is_none) {
            return;
        }
        let context = self.contexts.get(&channel);
        let person = ProfilePerson(ProfileFacts::of(plan, profile));
        let view = View { action: action.slot, channel, now, person: &person, context, totals };
        let Decision { eligible, until, blocked } = action.def.decide(&view, false);
        let answer = match blocked {
            _ if eligible => Answer::Due(action.def.arm(&view)),
            Some(Reason::Withheld) => Answer::Withheld,
            _ => Answer::No,
        };
        let momentary = !action.def.on_event.is_empty();
        let nothing = Standing { answer: Answer::No, until: Millis::MAX, due: None, withheld: None };
        let standing = self.standing.entry((action.slot, channel)).or_insert(nothing);
        let differs = standing.answer != answer || momentary && answer != Answer::No;
        // What was due is due until now, also when it ends now.
        if matches!(standing.answer, Answer::Due(_)) || eligible {
            standing.due = Some(now);
        }
        if standing.answer == Answer::Withheld || answer == Answer::Withheld {
            standing.withheld = Some(now);
        }
        standing.until = if momentary { Millis::MAX } else { until.max(now.plus(1)) };
        standing.answer = if momentary { Answer::No } else { answer };
        if differs && self.opened && now < self.setting.to {
            self.note(plan, action, channel, now, answer);
        }
    }

    /// One decision in its canonical encoding, which `docs/what-if.md` draws.
    fn note(&mut self, plan: &Plan, action: &ActionPlan, channel: ChannelSlot, now: Millis, answer: Answer) {
        let (shown, arm) = match answer {
            Answer::No => (0_u8, None),
            Answer::Due(arm) => (1, arm),
            Answer::Withheld => (2, None),
        };
        let variant = arm.and_then(|arm| {
            plan.experiment_plan(arm.experiment)?.def.variants.get(usize::from(arm.variant)).map(|variant| variant.key.as_str())
        });
        self.hash.update(action.id.0.to_be_bytes());
        self.hash.update(self.profile.0.to_be_bytes());
        self.hash.update(now.0.to_be_bytes());
        self.hash.update([shown]);
        for text in [plan.channel_key(channel), variant.unwrap_or_default()] {
            self.hash.update((text.len() as u64).to_be_bytes());
            self.hash.update(text.as_bytes());
        }
        self.noted += 1;
    }
}

impl Watch for Decisions<'_> {
    fn before(&mut self, plan: &Plan, profile: &Profile, entry: &Entry) {
        if let EntryKind::Reacted(reacted) = &entry.kind {
            let standing = self.standing.get(&(reacted.action, reacted.channel));
            let context = self.contexts.get(&reacted.channel);
            self.judge.judge(plan, profile, entry, reacted, standing, context);
        }
    }

    fn after(&mut self, plan: &Plan, profile: &Profile, entry: Option<&Entry>, changes: &Changes) {
        let mut context = None;
        match entry.map(|entry| &entry.kind) {
            Some(EntryKind::Event(occurrence)) if self.contexts.get(&occurrence.channel) != Some(&occurrence.context) => {
                self.contexts.insert(occurrence.channel, occurrence.context.clone());
                context = Some(occurrence.channel);
            }
            Some(EntryKind::Identified(identified)) if !identified.absorbed.is_empty() => {
                self.judge.merged = Some(profile.core.clock);
            }
            _ => {}
        }
        let upto = entry.map_or(Upto::Time(profile.core.clock), |entry| Upto::Seq(Seq(entry.moment.seq.0 + 1)));
        self.decide(plan, profile, changes, context, upto);
    }

    fn deadline(&self) -> Millis {
        let flips = self.standing.values().map(|standing| standing.until).min().unwrap_or(Millis::MAX);
        if self.opened { flips } else { flips.min(self.setting.from) }
    }
}
