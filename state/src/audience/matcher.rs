//! Which events a condition or step is about.

use crate::expr::{Expr, Facts, Source};
use crate::ids::{ChannelSlot, EventSlot};
use crate::value::Value;
use std::borrow::Cow;

/// An event type, the channels that count, and what the properties must satisfy.
#[derive(Clone, Debug)]
pub struct Matcher {
    /// The event.
    pub event: EventSlot,
    /// The channels that count; empty for all.
    pub channels: Box<[ChannelSlot]>,
    /// What the properties must satisfy.
    pub condition: Expr,
    captured: bool,
    relative: bool,
}

impl Matcher {
    /// A matcher from its parts.
    #[must_use]
    pub fn new(event: EventSlot, channels: Box<[ChannelSlot]>, condition: Expr) -> Self {
        let mut captured = false;
        condition.sources(&mut |source| captured |= matches!(source, Source::Captured { .. }));
        let relative = condition.relative();
        Self { event, channels, condition, captured, relative }
    }

    /// Whether an event of this type and channel is looked at.
    #[must_use]
    pub fn takes(&self, event: EventSlot, channel: ChannelSlot) -> bool {
        self.event == event && (self.channels.is_empty() || self.channels.contains(&channel))
    }

    /// Whether the condition compares with what an earlier step captured, so that the answer depends on
    /// the run.
    #[must_use]
    pub fn captured(&self) -> bool {
        self.captured
    }

    /// Whether time alone can change the answer.
    #[must_use]
    pub fn relative(&self) -> bool {
        self.relative
    }
}

/// A value that a run took from the event that completed a step.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct Capture {
    /// The step's number.
    pub(super) step: u16,
    /// Which of the step's captures.
    pub(super) index: u16,
    pub(super) value: Value,
}

/// Facts of an event together with what a run captured.
pub(super) struct RunFacts<'a, F: ?Sized> {
    pub(super) facts: &'a F,
    pub(super) chain: &'a super::ChainDef,
    pub(super) captured: &'a [Capture],
}

impl<F: Facts + ?Sized> Facts for RunFacts<'_, F> {
    fn get<'a>(&'a self, source: &Source) -> Option<Cow<'a, Value>> {
        let Source::Captured { step, path } = source else { return self.facts.get(source) };
        let def = self.chain.steps.iter().find(|def| def.number == *step)?;
        let index = def.captures.iter().position(|captured| captured == path)?;
        let found = self.captured.iter().find(|c| c.step == *step && usize::from(c.index) == index);
        found.map(|capture| Cow::Borrowed(&capture.value))
    }
}
