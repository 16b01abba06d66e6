//! One event's way in: validate, resolve the identity, stamp, journal, apply, push.

use super::api::{Caller, Stored, TrackInput};
use super::dedupe::First;
use super::follow::Follows;
use super::invalid::Reject;
use super::{Engine, mint, time};
use crate::telemetry::metrics as m;
use crate::wire::{Rejection, limits};
use compact_str::CompactString;
use lodestone_state::command;
use lodestone_state::event::{Entry, EntryKind, Identified, Identity, Occurrence, Props};
use lodestone_state::ids::{ChannelSlot, Millis, Moment, Seq};
use lodestone_state::machine::{self, Changes};
use lodestone_state::plan::{EventPlan, Plan};
use lodestone_state::profile::{IDENTITIES_MAX, Profile};
use lodestone_state::schema::{FieldError, UnknownKeys};
use lodestone_state::store::Shared;
use std::time::Instant;

/// A profile's entry that has everything but its log position.
pub(super) struct Draft {
    pub(super) t: Millis,
    pub(super) at: Millis,
    pub(super) user_id: CompactString,
    pub(super) message_id: Option<CompactString>,
    pub(super) kind: EntryKind,
}

impl Engine {
    /// Takes one event. Returns once it is applied and on its way to the journal.
    pub fn track(&self, caller: &Caller, input: &TrackInput<'_>) -> Stored {
        let mut stored = self.try_track(caller, input).unwrap_or_else(Stored::Rejected);
        // What the event brought about belongs to it: the answer waits for all of it.
        let followed = self.follow_up();
        match &mut stored {
            Stored::Stored { seq, .. } => {
                *seq = followed.max(*seq);
                self.stats.events.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                m::events_accepted();
            }
            Stored::Duplicate { .. } => m::events_duplicate(),
            Stored::Dropped => m::events_dropped(),
            Stored::Rejected(rejection) => {
                self.stats.rejected.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                m::events_rejected(rejection.code);
            }
        }
        stored
    }

    fn try_track(&self, caller: &Caller, input: &TrackInput<'_>) -> Result<Stored, Rejection> {
        check_ids(input.user_id, input.message_id)?;
        limits::event_name(Some(input.event))?;
        self.writable()?;
        let plan = self.plan.load();
        let at = self.clock.now();
        // A repeat is answered before it is validated: the first outcome stands whatever the resend says.
        let message_id = input.message_id.map(CompactString::from);
        if let Some(first) = message_id.as_ref().and_then(|id| self.dedupe.find(&self.disk, id, at)) {
            return Ok(Stored::Duplicate { seq: first.seq, event_id: first.event_id });
        }
        let t = time::effective(at, input.timestamp, input.sent_at, &plan.zone, caller.grant.import)?;
        let (event, props, context) = self.validate(&plan, caller, input, at)?;
        let occurrence = Occurrence {
            event: event.slot,
            version: event.version,
            channel: caller.channel,
            props,
            context,
            chain: Box::default(),
        };
        let draft = Draft { t, at, user_id: input.user_id.into(), message_id, kind: EntryKind::Event(occurrence) };
        let (shared, _) = self.store.find_or_create(input.user_id, || self.new_profile(&plan));
        self.write_to(shared, input.user_id, draft, Some(caller.channel), input.session)
    }

    /// Holds an event against its definition and its context definition; records why if it does not pass.
    pub(super) fn validate<'p>(
        &self,
        plan: &'p Plan,
        caller: &Caller,
        input: &TrackInput<'_>,
        at: Millis,
    ) -> Result<(&'p EventPlan, Props, Props), Rejection> {
        let reject = Reject { caller, input, at };
        let Some(event) = plan.event_by_name(input.event) else {
            let rejection = Rejection::new("unknown_event", format!("no event is named {:?}", input.event));
            self.invalid.record(self, plan, &reject, "unknown_event", 0, &[]);
            return Err(rejection);
        };
        let context = check_context(plan, caller, input.context);
        let props = event.schema.validate(input.properties.unwrap_or(""), &plan.zone);
        match (props, context) {
            (Ok(props), Ok(context)) => Ok((event, props, context)),
            (props, context) => {
                let (props, context) = (props.err(), context.err());
                let (kind, code) =
                    if context.is_some() { ("context", "context_invalid") } else { ("properties", "event_properties_invalid") };
                let errors: Vec<FieldError> = context.into_iter().chain(props).flatten().collect();
                self.invalid.record(self, plan, &reject, kind, event.version, &errors);
                Err(Rejection::new(code, format!("{} field(s) do not fit their definition", errors.len())).with_details(errors))
            }
        }
    }

    /// Stamps, journals and applies a draft under the profile's lock, then decides what to push.
    pub(super) fn write_to(
        &self,
        mut shared: Shared,
        user_id: &str,
        draft: Draft,
        new_in: Option<ChannelSlot>,
        session: Option<u64>,
    ) -> Result<Stored, Rejection> {
        let began = Instant::now();
        loop {
            let handle = shared.clone();
            let mut profile = handle.lock();
            // Under the lock, so that a plan older than the one the profile is folded under is never used.
            let plan = self.plan.load();
            if !self.store.owns(&profile, user_id) {
                // Merged away or split off between finding and locking: the index knows by now or soon.
                drop(profile);
                shared = self.store.find_or_create(user_id, || self.new_profile(&plan)).0;
                continue;
            }
            if let Some(first) = draft.message_id.as_ref().and_then(|id| self.dedupe.find_recent(id, draft.at)) {
                return Ok(Stored::Duplicate { seq: first.seq, event_id: first.event_id });
            }
            let full = profile.core.identities.len() >= IDENTITIES_MAX;
            if full && new_in.is_some_and(|channel| profile.identity(channel, user_id).is_none()) {
                return Err(Rejection::new("identity_limit", format!("the profile has {IDENTITIES_MAX} identities already")));
            }
            let mut changes = Changes::default();
            self.bring_up_to_date(&plan, &mut profile, &mut changes);
            self.catch_up(&plan, &shared, &mut profile, draft.at, &mut changes);
            let event_id = mint();
            let seq = self.commit(&plan, &shared, &mut profile, draft, event_id, &mut changes);
            self.bind_session(session, &profile, user_id);
            self.after(&plan, &shared, &mut profile, &changes);
            m::apply_seconds(began.elapsed());
            return Ok(Stored::Stored { seq, event_id });
        }
    }

    /// Files `user_id` under the profile as an anonymous identity if it is not: for a poll or subscription,
    /// which make a profile without an event. Left out while nothing can be stored.
    pub(super) fn ensure_identity(
        &self,
        plan: &Plan,
        shared: &Shared,
        profile: &mut Profile,
        channel: ChannelSlot,
        user_id: &str,
        changes: &mut Changes,
    ) {
        let have = profile.core.identities.iter().any(|i| i.user_id == user_id);
        if have || profile.core.identities.len() >= IDENTITIES_MAX || self.writable().is_err() {
            return;
        }
        let at = self.clock.now();
        self.catch_up(plan, shared, profile, at, changes);
        let identity =
            Identity { channel, kind: "anonymous_id".into(), user_id: user_id.into(), is_anonymous: true, created_at: at };
        let kind = EntryKind::Identified(Identified { identities: vec![identity], ..Identified::default() });
        let draft = Draft { t: at, at, user_id: user_id.into(), message_id: None, kind };
        self.commit(plan, shared, profile, draft, mint(), changes);
    }

    /// Journals and applies one entry: the record goes to the journal first, which stamps it.
    pub(super) fn commit(
        &self,
        plan: &Plan,
        shared: &Shared,
        profile: &mut Profile,
        draft: Draft,
        id: u128,
        changes: &mut Changes,
    ) -> Seq {
        self.commit_with(plan, shared, profile, draft, id, changes, |_| {})
    }

    /// As [`Self::commit`]; `stamped` runs in the moment the log position is known, before anything after
    /// it can be stamped. It may take leaf locks only.
    #[expect(clippy::too_many_arguments, reason = "the parts of one record, under the profile's lock")]
    pub(super) fn commit_with(
        &self,
        plan: &Plan,
        shared: &Shared,
        profile: &mut Profile,
        draft: Draft,
        id: u128,
        changes: &mut Changes,
        stamped: impl FnOnce(Moment),
    ) -> Seq {
        // Time never runs back for a profile, whatever thread read the clock first.
        let at = draft.at.max(profile.core.clock);
        // Custom traits are set in the order of the log: none takes effect before what was set already.
        let sets_custom = draft.kind.sets_custom();
        let t = if sets_custom { draft.t.max(profile.core.asserted) } else { draft.t };
        let moment = Moment { t, seq: Seq(0) };
        let mut entry = Entry { moment, at, user_id: draft.user_id, message_id: draft.message_id, id, kind: draft.kind };
        if profile.core.applied == Seq(0) && profile.core.clock == Millis::MIN {
            machine::born(plan, profile, at, changes);
        }
        self.mark_dirty(shared, profile);
        let follows = Follows::of(plan, profile.core.id, &entry);
        let seq = self.journal.append_with(|seq, record| {
            command::encode_entry(profile.core.id, plan.version, &entry, record);
            self.analysis.rollups.count(profile.core.id, &entry, seq);
            stamped(Moment { seq, ..moment });
            follows.stamped(self, seq);
        });
        entry.moment.seq = seq;
        if let Some(message_id) = &entry.message_id {
            self.dedupe.insert(message_id, First { seq, event_id: id, at });
        }
        machine::apply(plan, profile, entry, &mut self.history(), changes);
        seq
    }
}

/// The connection's or event's context, held against the channel's definition. No definition accepts
/// anything that is an object.
pub(super) fn check_context(plan: &Plan, caller: &Caller, context: Option<&str>) -> Result<Props, Vec<FieldError>> {
    match plan.context_schema(caller.channel) {
        Some(schema) => schema.validate(context.unwrap_or(""), &plan.zone),
        None => plan.open_schema().validate_as(context.unwrap_or(""), &plan.zone, UnknownKeys::Open),
    }
}

/// Checks the ids that every message carries.
pub(super) fn check_ids(user_id: &str, message_id: Option<&str>) -> Result<(), Rejection> {
    limits::user_id("userId", Some(user_id))?;
    limits::message_id("messageId", message_id)?;
    Ok(())
}
