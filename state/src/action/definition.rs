//! An action's definition, from JSON to what targeting reads.

use super::capping::{Cap, CapState, Group, RING_MAX};
use super::json::{INVALID, Node, field_issue};
use super::properties::{self, Entry, Properties};
use super::time_range::TimeRange;
use super::{REACTIONS, channel_list};
use crate::event::Reacted;
use crate::expr::{Expr, LEAVES_MAX, Place, Resolve, Source, compile};
use crate::ids::{AudienceSlot, ChannelSlot, EventSlot, Millis};
use crate::issue::Issue;
use crate::time::{DAY_MS, Zone, parse_instant};
use compact_str::CompactString;
use serde_json::Value as Json;

/// Caps of one action.
pub const CAPS_MAX: usize = 32;
/// The longest window of a cap: about 100 years, so that no window overflows an instant.
const WITHIN_MAX_MS: i64 = 36_525 * DAY_MS;
/// Hooks are read, but nothing runs them yet.
const HOOKS_UNSUPPORTED: &str = "hooks_unsupported";

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
    /// What it says.
    pub properties: Properties,
    /// Who sees it in staging.
    pub test_users: Box<[TestUser]>,
    /// For how long after it ceased to be valid a delivery may still be accepted, in milliseconds.
    pub accept_grace_ms: i64,
}

impl ActionDef {
    /// Reads an action. `kind` is the version of the action type that it names; `pointer` is where the
    /// action stands in its document. Names that resolve to nothing are the catalog's to report: here
    /// they match nothing, as after a forced delete.
    ///
    /// # Errors
    /// `None`, with everything that is wrong pushed to `issues`: codes `definition_invalid`,
    /// `invalid_condition`, and `hooks_unsupported` for an action that has hooks.
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
        hooks(&node, resolve, issues);
        let test_users = test_users(&node, resolve, issues);
        let nothing = Json::Object(serde_json::Map::new());
        let targeting = node.object("targeting", issues);
        let targeting = targeting.unwrap_or_else(|| Node::new(&nothing, node.at("targeting")));
        let channels = channel_list(&targeting, resolve, issues);
        let audience = |name: &str| resolve.audience(name);
        let event = |name: &str| resolve.event(name).unwrap_or(EventSlot(u32::MAX));
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
            properties: Properties::merge(&kind.defaults, own),
            test_users,
            accept_grace_ms: node.int("acceptGraceSec", 0..=31_536_000, issues).unwrap_or(0) * 1000,
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

fn created_at(node: &Node<'_>, zone: &Zone, issues: &mut Vec<Issue>) -> Millis {
    let Some(text) = node.text("createdAt", issues) else { return Millis(0) };
    parse_instant(text, zone).map_or_else(
        || {
            issues.push(field_issue(node, "createdAt", format!("createdAt is an instant, not {text:?}")));
            Millis(0)
        },
        crate::time::DateTimeLit::start,
    )
}

fn caps(node: &Node<'_>, resolve: &dyn Resolve, issues: &mut Vec<Issue>) -> Box<[Cap]> {
    let nodes = node.objects("capping", issues);
    if nodes.len() > CAPS_MAX {
        issues.push(field_issue(node, "capping", format!("{} caps, limit is {CAPS_MAX}", nodes.len())));
    }
    nodes.iter().filter_map(|node| cap(node, resolve, issues)).collect()
}

fn cap(node: &Node<'_>, resolve: &dyn Resolve, issues: &mut Vec<Issue>) -> Option<Cap> {
    let reaction = node.required_word("event", &REACTIONS, issues);
    let group = node.required_word("group", &[("user", Group::User), ("all", Group::All)], issues);
    let count = node.int("count", 0..=i64::MAX, issues);
    if node.get("count").is_none() {
        issues.push(field_issue(node, "count", "count is required"));
    }
    let within = node.int("within", 0..=i64::MAX, issues).unwrap_or(0);
    let units = [("seconds", 1000), ("minutes", 60_000), ("hours", 3_600_000), ("days", DAY_MS)];
    let unit_ms = node.word("withinUnit", &units, issues).unwrap_or(DAY_MS);
    let within_ms = within.saturating_mul(unit_ms);
    if within_ms > WITHIN_MAX_MS {
        issues.push(field_issue(node, "within", "within is longer than 100 years; 0 stands for ever"));
    }
    let count = u64::try_from(count?).ok()?;
    if within_ms > 0 && count > RING_MAX {
        issues.push(field_issue(node, "count", format!("count within a time is at most {RING_MAX}, not {count}")));
    }
    let channels = channel_list(node, resolve, issues).into();
    Some(Cap { reaction: reaction?, group: group?, count, within_ms: (within_ms > 0).then_some(within_ms), channels })
}

#[derive(Clone, Copy)]
enum HookKind {
    Webhook,
    TrackEvent,
}

/// Reports what is wrong with each hook, and that hooks are not run yet: an action that would promise a
/// webhook and never call it is worse than one that is refused.
fn hooks(node: &Node<'_>, resolve: &dyn Resolve, issues: &mut Vec<Issue>) {
    for hook in node.objects("hooks", issues) {
        hook.required_word("event", &REACTIONS, issues);
        channel_list(&hook, resolve, issues);
        let kinds = [("execute_webhook", HookKind::Webhook), ("track_event", HookKind::TrackEvent)];
        let kind = hook.required_word("type", &kinds, issues);
        let properties = hook.object("properties", issues);
        let required = match kind {
            Some(HookKind::Webhook) => "url",
            Some(HookKind::TrackEvent) => "eventId",
            None => continue,
        };
        let given = properties.as_ref().and_then(|properties| properties.text(required, issues));
        if given.unwrap_or_default().is_empty() {
            issues.push(Issue::new(format!("{}/properties/{required}", hook.pointer), INVALID, format!("{required} is required")));
        }
        if let (Some(HookKind::Webhook), Some(properties)) = (kind, &properties) {
            properties.flag("returnResult", issues);
            let params = properties.text("params", issues).filter(|text| !text.is_empty());
            if params.is_some_and(|text| serde_json::from_str::<Json>(text).is_err()) {
                issues.push(field_issue(properties, "params", "params is JSON in a text"));
            }
        }
        let message = "hooks are not run by this version; remove them, or the action would not do what it says";
        issues.push(Issue::new(hook.pointer.clone(), HOOKS_UNSUPPORTED, message));
    }
}

fn test_users(node: &Node<'_>, resolve: &dyn Resolve, issues: &mut Vec<Issue>) -> Box<[TestUser]> {
    let mut users = Vec::new();
    for user in node.objects("testUsers", issues) {
        let user_id = user.text("userId", issues).unwrap_or_default();
        if user_id.is_empty() {
            issues.push(field_issue(&user, "userId", "userId is required"));
        }
        user.text("description", issues);
        users.push(TestUser {
            user_id: user_id.into(),
            channels: channel_list(&user, resolve, issues).into(),
            skip_targeting: user.flag("skipTargeting", issues),
        });
    }
    users.into()
}

fn trait_conditions(targeting: &Node<'_>, resolve: &dyn Resolve, zone: &Zone, issues: &mut Vec<Issue>) -> Box<[TraitCondition]> {
    let items = condition_list(targeting, "traitConditions", issues);
    let one = |item: &Node<'_>| {
        let expr = condition(item, Place::ActionTrait, resolve, zone, issues)?;
        let mut computed = false;
        leaves(item.json, &mut |leaf| {
            computed |= leaf.get("source").and_then(Json::as_str).is_some_and(|source| source.starts_with("computed"));
        });
        Some(TraitCondition { computed, expr })
    };
    items.iter().filter_map(one).collect()
}

/// Context conditions by channel. One that names no channel (as old exports do) holds in every channel
/// of the action; all clauses of a group belong to one channel.
fn context_conditions(
    targeting: &Node<'_>,
    channels: &[ChannelSlot],
    resolve: &dyn Resolve,
    zone: &Zone,
    issues: &mut Vec<Issue>,
) -> Box<[(ChannelSlot, Expr)]> {
    let mut compiled = Vec::new();
    for item in condition_list(targeting, "contextConditions", issues) {
        let mut named: Vec<&str> = Vec::new();
        leaves(item.json, &mut |leaf| {
            named.extend(leaf.get("channel").and_then(Json::as_str).filter(|name| !name.is_empty()));
        });
        named.dedup();
        let places = match named[..] {
            [] => channels.to_vec(),
            [name] => vec![resolve.channel(name).unwrap_or(super::NO_CHANNEL)],
            _ => {
                issues.push(Issue::new(item.pointer.clone(), crate::issue::INVALID_CONDITION, "the clauses of a group name different channels"));
                continue;
            }
        };
        // Also what no channel will ask is checked, once.
        let checked = if places.is_empty() { vec![super::NO_CHANNEL] } else { places };
        for (nth, channel) in checked.into_iter().enumerate() {
            let mut again = Vec::new();
            let found = if nth == 0 { &mut *issues } else { &mut again };
            if let Some(expr) = condition(&item, Place::ActionContext { channel }, resolve, zone, found) {
                compiled.push((channel, expr));
            }
        }
    }
    compiled.into()
}

fn condition_list<'a>(targeting: &Node<'a>, key: &str, issues: &mut Vec<Issue>) -> Vec<Node<'a>> {
    let items = targeting.list(key, issues);
    let mut count = 0;
    items.iter().for_each(|item| leaves(item.json, &mut |_| count += 1));
    if count > LEAVES_MAX {
        issues.push(field_issue(targeting, key, format!("{count} clauses, limit is {LEAVES_MAX}")));
    }
    items
}

/// Compiles one entry of a list with the pointer that it has there.
fn condition(item: &Node<'_>, place: Place<'_>, resolve: &dyn Resolve, zone: &Zone, issues: &mut Vec<Issue>) -> Option<Expr> {
    let mut found = Vec::new();
    let expr = compile(std::slice::from_ref(item.json), place, resolve, zone, "", &mut found);
    issues.extend(found.into_iter().map(|mut issue| {
        let inside = issue.pointer.strip_prefix("/0").unwrap_or_default();
        issue.pointer = format!("{}{inside}", item.pointer);
        issue
    }));
    expr
}

/// Calls `f` with every clause under a condition or group.
fn leaves<'a>(json: &'a Json, f: &mut dyn FnMut(&'a Json)) {
    let mut groups = ["any", "all", "not"].into_iter().filter_map(|group| json.get(group)).peekable();
    if groups.peek().is_none() {
        return f(json);
    }
    for group in groups {
        match group {
            Json::Array(list) => list.iter().for_each(|json| leaves(json, f)),
            json => leaves(json, f),
        }
    }
}

#[cfg(test)]
mod tests;
