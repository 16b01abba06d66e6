//! The invalid-events log: what was turned away, kept so that an operator can see why.

use super::Engine;
use super::api::{Caller, IdentifyInput, TrackInput};
use super::mint;
use lodestone_state::command::{self, Command, Invalid};
use lodestone_state::ids::Millis;
use lodestone_state::plan::Plan;
use lodestone_state::schema::FieldError;
use parking_lot::Mutex;
use std::collections::VecDeque;

/// Records in memory; older ones are dropped, counted by the metric of rejects.
const RECORDS_MAX: usize = 10_000;

/// What was turned away, as it came.
pub(super) struct Reject<'a> {
    pub(super) caller: &'a Caller,
    pub(super) input: &'a TrackInput<'a>,
    pub(super) at: Millis,
}

/// Newest last.
#[derive(Default)]
pub(super) struct InvalidLog(Mutex<VecDeque<Invalid>>);

impl<'a> Reject<'a> {
    /// An identify has no event; its traits stand where properties would.
    pub(super) fn identify(caller: &'a Caller, input: &'a IdentifyInput<'a>, at: Millis) -> RejectedIdentify<'a> {
        RejectedIdentify { caller, input, at }
    }
}

/// A rejected identify.
pub(super) struct RejectedIdentify<'a> {
    caller: &'a Caller,
    input: &'a IdentifyInput<'a>,
    at: Millis,
}

/// Anything that can stand in the log.
pub(super) trait Rejected {
    /// The record, with its reasons still empty.
    fn record(&self, plan: &Plan) -> Invalid;
}

impl Rejected for Reject<'_> {
    fn record(&self, plan: &Plan) -> Invalid {
        let Self { caller, input, at } = self;
        blank(plan, caller, *at, input.event, input.user_id, input.message_id, input.properties, input.context)
    }
}

impl Rejected for RejectedIdentify<'_> {
    fn record(&self, plan: &Plan) -> Invalid {
        let Self { caller, input, at } = self;
        blank(plan, caller, *at, "", input.user_id, input.message_id, input.traits, None)
    }
}

#[expect(clippy::too_many_arguments, reason = "the columns of one row")]
fn blank(
    plan: &Plan,
    caller: &Caller,
    at: Millis,
    name: &str,
    user_id: &str,
    message_id: Option<&str>,
    properties: Option<&str>,
    context: Option<&str>,
) -> Invalid {
    Invalid {
        id: mint(),
        kind: "".into(),
        name: name.into(),
        channel: plan.channel_key(caller.channel).into(),
        user_id: user_id.into(),
        message_id: message_id.map(Into::into),
        version: 0,
        properties: properties.unwrap_or("{}").into(),
        context: context.unwrap_or("{}").into(),
        errors: Vec::new(),
        at,
    }
}

impl InvalidLog {
    /// Journals and keeps one record.
    pub(super) fn record(
        &self,
        engine: &Engine,
        plan: &Plan,
        rejected: &impl Rejected,
        kind: &str,
        version: u32,
        errors: &[FieldError],
    ) {
        let errors = errors.iter().map(|e| (e.path.to_string(), e.rule.into(), e.message.to_string())).collect();
        let record = Invalid { kind: kind.into(), version, errors, ..rejected.record(plan) };
        engine.journal.append_with(|_, out| command::encode(&Command::Invalid(record.clone()), out));
        self.keep(record);
    }

    /// Keeps a record that stands in the journal.
    pub(super) fn keep(&self, record: Invalid) {
        let mut records = self.0.lock();
        if records.len() == RECORDS_MAX {
            records.pop_front();
        }
        records.push_back(record);
    }

    /// Every record, oldest first.
    pub(super) fn all(&self) -> Vec<Invalid> {
        self.0.lock().iter().cloned().collect()
    }

    /// Puts back what a checkpoint held.
    pub(super) fn restore(&self, records: Vec<Invalid>) {
        self.0.lock().extend(records);
    }
}
