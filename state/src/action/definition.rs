//! An action's definition, from JSON to what targeting reads.

use super::capping::{Cap, CapState, Group};
use super::channel_list;
use super::hooks::{Hook, hooks};
use super::json::{Node, field_issue};
use super::parts::{caps, context_conditions, created_at, test_users, trait_conditions};
use super::properties::{self, Entry, Properties};
use super::time_range::TimeRange;
use super::trial::Trial;
use crate::event::{Reacted, Reaction};
use crate::expr::{Expr, Resolve, Source};
use crate::goal::Cost;
use crate::ids::{AudienceSlot, ChannelSlot, EventSlot, Millis};
use crate::issue::Issue;
use crate::time::Zone;
use crate::traits::definition::NO_EVENT;
use compact_str::CompactString;
use serde_json::Value as Json;

/// Caps of one action.
pub const CAPS_MAX: usize = 32;

/// Whether an action runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// For nobody.
    Inactive,
    /// For its test users.
    Staging,
    /// For everybody whom its targeting fits.
    Active,
}

/// Someone who sees an action in staging.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestUser {
    /// Any id of the person.
    pub user_id: CompactString,
    /// Where; empty for nowhere.
    pub channels: Box<[ChannelSlot]>,
    /// Time, traits, context, audiences and caps are not asked.
    pub skip_targeting: bool,
}

/// A version of an action type: a name that clients filter by, and default properties.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ActionType {
    /// The name.
    pub name: CompactString,
    /// The version, from 1.
    pub version: u32,
    pub(super) defaults: Vec<Entry>,
}

impl ActionType {
    /// Reads `{"name", "version", "properties"}`; the version is 1 when absent.
    ///
    /// # Errors
    /// `None`, with everything that is wrong pushed to `issues`.
    pub fn compile(json: &Json, resolve: &dyn Resolve, pointer: &str, issues: &mut Vec<Issue>) -> Option<Self> {
        let before = issues.len();
        let node = Node::new(json, pointer);
        let name = node.text("name", issues).unwrap_or_default();
        if name.is_empty() {
            issues.push(field_issue(&node, "name", "name is required"));
        }
        let version = node.int("version", 1..=i64::from(u32::MAX), issues).unwrap_or(1);
        let defaults = properties::entries(&node, resolve, issues);
        let read = issues.len() == before;
        read.then(|| Self { name: name.into(), version: u32::try_from(version).unwrap_or(1), defaults })
    }
}

/// A condition, and which step of an explanation it belongs to.
#[derive(Clone, Debug)]
pub(super) struct TraitCondition {
    pub(super) computed: bool,
    pub(super) expr: Expr,
}

/// A compiled action.
#[derive(Clone, Debug)]
pub struct ActionDef {
    /// Whether it runs.
    pub state: State,
    /// Name of its type.
    pub type_name: CompactString,
    /// Version of its type.
    pub type_version: u32,
    /// Clients ask for these.
    pub tags: Box<[CompactString]>,
    /// Higher goes first.
    pub priority: i64,
    /// Of the actions in one slot, a subscription holds one.
    pub slot: Option<CompactString>,
    /// Of two with the same priority the older goes first. From `createdAt`; the catalog may set it.
    pub created_at: Millis,
    /// Where it runs; empty for nowhere.
    pub channels: Box<[ChannelSlot]>,
    /// When it runs.
    pub time: TimeRange,
    /// Comes up only at the moment of one of these; empty for whenever its targeting fits.
    pub on_event: Box<[EventSlot]>,
    /// Members of any of these; `None` stands for one that is gone. Empty for everybody.
    pub audiences: Box<[Option<AudienceSlot>]>,
    pub(super) traits: Box<[TraitCondition]>,
    pub(super) context: Box<[(ChannelSlot, Expr)]>,
    /// How often.
    pub caps: Box<[Cap]>,
    /// What it does elsewhere, in the order in which that is done.
    pub hooks: Box<[Hook]>,
    /// What it says.
    pub properties: Properties,
    /// Who sees it in staging.
    pub test_users: Box<[TestUser]>,
    /// For how long after it ceased to be valid a delivery may still be accepted, in milliseconds.
    pub accept_grace_ms: i64,
    /// Reports add up actions of one campaign.
    pub campaign: Option<CompactString>,
    /// What it costs.
    pub cost: Option<Cost>,
    /// The running experiment that it is part of. Set by the plan, which knows both.
    pub trial: Option<Trial>,
}

impl ActionDef {
    /// Reads an action. `kind` is the version of the action type that it names; `pointer` is where the
    /// action stands in its document. Names that resolve to nothing are the catalog's to report: here
    /// they match nothing, as after a forced delete.
    ///
    /// # Errors
    /// `None`, with everything that is wrong pushed to `issues`: codes `definition_invalid`
    /// and `invalid_condition`.
    pub fn compile(
        json: &Json,
        kind: &ActionType,
        resolve: &dyn Resolve,
        zone: &Zone,
        pointer: &str,
        issues: &mut Vec<Issue>,
    ) -> Option<Self> {
        let before = issues.len();
        let node = Node::new(json, pointer);
        let states = [("inactive", State::Inactive), ("staging", State::Staging), ("active", State::Active)];
        let state = node.word("state", &states, issues).unwrap_or(State::Inactive);
        let tags = node.texts("tags", issues);
        let own = properties::entries(&node, resolve, issues);
        let caps = caps(&node, resolve, issues);
        let hooks = hooks(&node, resolve, issues);
        let test_users = test_users(&node, resolve, issues);
        let nothing = Json::Object(serde_json::Map::new());
        let targeting = node.object("targeting", issues);
        let targeting = targeting.unwrap_or_else(|| Node::new(&nothing, node.at("targeting")));
        let channels = channel_list(&targeting, resolve, issues);
        let audience = |name: &str| resolve.audience(name);
        let event = |name: &str| resolve.event(name).unwrap_or(NO_EVENT);
        let def = Self {
            state,
            type_name: kind.name.clone(),
            type_version: kind.version,
            tags: tags.into_iter().map(Into::into).collect(),
            priority: node.int("priority", i64::MIN..=i64::MAX, issues).unwrap_or(0),
            slot: node.text("slot", issues).filter(|slot| !slot.is_empty()).map(Into::into),
            created_at: created_at(&node, zone, issues),
            time: TimeRange::compile(&targeting, zone, issues),
            on_event: targeting.texts("onEvent", issues).into_iter().map(event).collect(),
            audiences: targeting.texts("audiences", issues).into_iter().map(audience).collect(),
            traits: trait_conditions(&targeting, resolve, zone, issues),
            context: context_conditions(&targeting, &channels, resolve, zone, issues),
            channels: channels.into(),
            caps,
            hooks,
            properties: Properties::merge(&kind.defaults, own),
            test_users,
            accept_grace_ms: node.int("acceptGraceSec", 0..=31_536_000, issues).unwrap_or(0) * 1000,
            campaign: node.text("campaign", issues).filter(|campaign| !campaign.is_empty()).map(Into::into),
            cost: node.get("cost").and_then(|cost| Cost::compile(cost, &node.at("cost"), issues)),
            trial: None,
        };
        (issues.len() == before).then_some(def)
    }

    /// Everything about the person and the connection that it reads: conditions and placeholders,
    /// repeats included. Audiences stand in [`ActionDef::audiences`].
    pub fn sources(&self, f: &mut impl FnMut(&Source)) {
        self.traits.iter().for_each(|condition| condition.expr.sources(f));
        self.context.iter().for_each(|(_, expr)| expr.sources(f));
        self.properties.sources(f);
    }

    /// Whether it asks anything of the context of `channel`.
    #[must_use]
    pub fn reads_context(&self, channel: ChannelSlot) -> bool {
        self.context.iter().any(|(other, _)| *other == channel)
    }

    /// Whether a cap counts over everybody: then a reaction of one person matters to all.
    #[must_use]
    pub fn has_total_caps(&self) -> bool {
        self.caps.iter().any(|cap| cap.group == Group::All)
    }

    /// The hooks that a reaction of this kind and place runs, each with its place in the list.
    pub fn hooks_on(&self, reaction: Reaction, channel: ChannelSlot) -> impl Iterator<Item = (usize, &Hook)> {
        self.hooks.iter().enumerate().filter(move |(_, hook)| hook.applies(reaction, channel))
    }

    /// A person who has not reacted yet.
    #[must_use]
    pub fn new_caps(&self) -> CapState {
        CapState::default()
    }

    /// Counts a logged reaction for the person's caps. Reactions of test users do not count.
    pub fn count_reaction(&self, state: &mut CapState, reacted: &Reacted, t: Millis) {
        if !reacted.test {
            state.record(&self.caps, Group::User, reacted.reaction, reacted.channel, t);
        }
    }

    /// Whether the person's tally can answer the caps as they are now; if not, it has to be counted again
    /// from their history with [`CapState::rebuild`].
    #[must_use]
    pub fn covers(&self, state: &CapState) -> bool {
        state.covers(&self.caps, Group::User)
    }
}

#[cfg(test)]
mod tests;
