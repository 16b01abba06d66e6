//! Logged reactions held against the decisions: could they have come about?

use super::decisions::{Setting, Standing};
use super::past::Upto;
use crate::action::{Decision, Group, Outcome, Proof, Reason, View};
use crate::event::{Entry, EntryKind, Props, Reacted, Reaction};
use crate::ids::{ActionSlot, Millis, ProfileId, Seq};
use crate::machine::{ProfileFacts, ProfilePerson};
use crate::plan::{ActionPlan, Plan};
use crate::profile::Profile;
use compact_str::CompactString;
use serde::Serialize;
use std::collections::BTreeMap;

/// A delivery is logged when its frame has been written, which may be so long after it was decided.
const LAG_MS: i64 = 60_000;

/// Findings of one profile that are kept; all of them are counted.
const KEPT_MAX: usize = 20;

/// Why a reaction that does not fit says nothing: what decided about it is not in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Doubt {
    /// The action is gone.
    ActionRemoved,
    /// The action, or what it depends on, was changed since the reaction.
    DefinitionChanged,
    /// All but the context fits, and the context of a connection is not logged with a delivery.
    Context,
    /// Within the grace after a delivery; when deliveries ended is not logged.
    Grace,
    /// It was admitted before a webhook was asked, which took a while.
    Webhook,
    /// It was decided for somebody who was merged into this profile a moment later.
    Merged,
    /// Entries were erased from the log since.
    Erased,
    /// A merge was undone since, and a part of the log went elsewhere.
    Split,
    /// Older entries are not kept.
    Aged,
}

/// What makes the log of a profile less than what it was.
#[derive(Clone, Copy, Debug, Default)]
pub struct Doubts {
    /// The last erasure.
    erased: Option<Seq>,
    /// The last merge undone.
    split: Option<Seq>,
    /// Entries may have left for their age.
    aged: bool,
}

impl Doubts {
    /// Of the log of a profile. `returned`: when it came back from a merge, of which its own log does not
    /// tell; `aged`: entries may have left it for their age.
    #[must_use]
    pub fn of(log: &[(ProfileId, Entry)], returned: Option<Seq>, aged: bool) -> Self {
        let newest = |wanted: fn(&EntryKind) -> bool| {
            log.iter().filter(|(_, entry)| wanted(&entry.kind)).map(|(_, entry)| entry.moment.seq).max()
        };
        let erased = newest(|kind| matches!(kind, EntryKind::Erased(_)));
        let split = newest(|kind| matches!(kind, EntryKind::Split(_))).max(returned);
        Self { erased, split, aged }
    }
}

/// A reaction that the replay would not have let happen.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Misfit {
    /// Whose.
    #[serde(skip)]
    pub profile: ProfileId,
    /// The id under which it came.
    pub user_id: CompactString,
    /// To what.
    #[serde(skip)]
    pub action: ActionSlot,
    /// What.
    #[serde(skip)]
    pub reaction: Reaction,
    /// When.
    #[serde(skip)]
    pub at: Millis,
    /// What speaks against it: the word of a refusal, or the steps that fail.
    pub reason: String,
    /// Why that says nothing, if it says nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<Doubt>,
}

/// What the comparison found for one profile.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Reactions that were compared.
    pub compared: u64,
    /// Those that could not have been decided.
    pub mismatches: u64,
    /// Those of which that cannot be said, by why.
    pub unknown: BTreeMap<Doubt, u64>,
    /// The first of both.
    pub kept: Vec<Misfit>,
}

impl Found {
    /// Adds what was found for another.
    pub fn add(&mut self, other: Self) {
        self.compared += other.compared;
        self.mismatches += other.mismatches;
        for (doubt, n) in other.unknown {
            *self.unknown.entry(doubt).or_default() += n;
        }
        self.kept.extend(other.kept);
    }
}

/// Compares the reactions of one profile.
pub(super) struct Judge<'a> {
    profile: ProfileId,
    setting: &'a Setting<'a>,
    doubts: &'a Doubts,
    /// When somebody was merged into it last.
    pub(super) merged: Option<Millis>,
    pub(super) found: Found,
}

impl<'a> Judge<'a> {
    pub(super) fn new(profile: ProfileId, setting: &'a Setting<'a>, doubts: &'a Doubts) -> Self {
        Self { profile, setting, doubts, merged: None, found: Found::default() }
    }

    /// Holds one reaction against the state just before it.
    pub(super) fn judge(
        &mut self,
        plan: &Plan,
        profile: &Profile,
        entry: &Entry,
        reacted: &Reacted,
        standing: Option<&Standing>,
        context: Option<&Props>,
    ) {
        if entry.at < self.setting.from || entry.at >= self.setting.to {
            return;
        }
        self.found.compared += 1;
        let (reason, unknown) = match plan.action_plan(reacted.action) {
            None => ("action_removed".to_owned(), Some(Doubt::ActionRemoved)),
            Some(action) => match self.objection(plan, profile, entry, reacted, action, standing, context) {
                None => return,
                Some((reason, doubt)) => (reason, self.doubt(entry, reacted).or(doubt)),
            },
        };
        match unknown {
            Some(doubt) => *self.found.unknown.entry(doubt).or_default() += 1,
            None => self.found.mismatches += 1,
        }
        if self.found.kept.len() < KEPT_MAX {
            self.found.kept.push(Misfit {
                profile: self.profile,
                user_id: entry.user_id.clone(),
                action: reacted.action,
                reaction: reacted.reaction,
                at: entry.at,
                reason,
                unknown,
            });
        }
    }

    /// Why all that the log says of this time may be less than what it said then.
    fn doubt(&self, entry: &Entry, reacted: &Reacted) -> Option<Doubt> {
        let since = |seq: Option<Seq>| seq.is_some_and(|seq| seq > entry.moment.seq);
        // At the same millisecond nothing says which came first.
        let changed = self.setting.changed.get(&reacted.action).is_some_and(|at| *at >= entry.at);
        let merged = self.merged.is_some_and(|at| entry.at <= at.plus(LAG_MS));
        [
            (changed, Doubt::DefinitionChanged),
            (since(self.doubts.erased), Doubt::Erased),
            (since(self.doubts.split), Doubt::Split),
            (self.doubts.aged, Doubt::Aged),
            (merged, Doubt::Merged),
        ]
        .into_iter()
        .find_map(|(holds, doubt)| holds.then_some(doubt))
    }

    /// What speaks against the reaction, and why that may say nothing.
    #[expect(clippy::too_many_arguments, reason = "what one reaction is held against")]
    fn objection(
        &self,
        plan: &Plan,
        profile: &Profile,
        entry: &Entry,
        reacted: &Reacted,
        action: &ActionPlan,
        standing: Option<&Standing>,
        context: Option<&Props>,
    ) -> Option<(String, Option<Doubt>)> {
        let person = ProfilePerson(ProfileFacts::of(plan, profile));
        let totals = self.setting.past.upto(Upto::Seq(entry.moment.seq));
        let offered = matches!(reacted.reaction, Reaction::Delivered | Reaction::Withheld);
        let context = if offered { context } else { Some(&reacted.context) };
        let (slot, channel, now) = (action.slot, reacted.channel, entry.at);
        let view = View { action: slot, channel, now, person: &person, context, totals: &totals };
        if offered {
            let before = self.setting.past.upto(Upto::Time(now.minus(LAG_MS)));
            return not_offered(action, &view, &View { totals: &before, ..view }, reacted.reaction, standing);
        }
        let delivered = profile.core.caps.get(slot.0).is_some_and(|caps| caps.total(Reaction::Delivered, &[]) > 0);
        let proof = Proof { delivered, valid_at: None };
        let refusal = action.def.admit(reacted.reaction, &view, proof).err()?;
        let graceful = action.def.admit(reacted.reaction, &view, Proof { valid_at: Some(now), ..proof }).is_ok();
        let asked = action.def.hooks_on(reacted.reaction, channel).any(|(_, hook)| hook.blocking().is_some());
        let doubt = if graceful { Some(Doubt::Grace) } else { asked.then_some(Doubt::Webhook) };
        Some((refusal.code().to_owned(), doubt))
    }
}

/// What speaks against a delivery, or against holding one back. `before` is the same with the totals as they
/// were when the oldest delivery was decided that may be logged only now.
fn not_offered(
    action: &ActionPlan,
    view: &View<'_>,
    before: &View<'_>,
    reaction: Reaction,
    standing: Option<&Standing>,
) -> Option<(String, Option<Doubt>)> {
    let withheld = reaction == Reaction::Withheld;
    let fits = |decision: &Decision| match withheld {
        true => decision.blocked == Some(Reason::Withheld),
        false => decision.eligible,
    };
    let recent = standing.and_then(|standing| standing.last(withheld));
    let decision = action.def.decide(view, false);
    if fits(&decision) || recent.is_some_and(|at| view.now <= at.plus(LAG_MS)) {
        return None;
    }
    if decision.blocked == Some(Reason::Capped { group: Group::All }) && fits(&action.def.decide(before, false)) {
        return None;
    }
    let steps = action.def.explain(view).steps;
    let failing: Vec<&str> = steps.iter().filter(|step| step.state == Outcome::Fail).map(|step| step.name).collect();
    let context = failing == ["Context Conditions"];
    let reason = if failing.is_empty() { "not withheld".to_owned() } else { failing.join(", ") };
    Some((reason, context.then_some(Doubt::Context)))
}
