//! The lists inside an action's definition: caps, test users and conditions.

use super::capping::{Cap, Group, RING_MAX};
use super::definition::{CAPS_MAX, TestUser, TraitCondition};
use super::json::{Node, field_issue};
use super::{REACTIONS, channel_list};
use crate::expr::{Expr, LEAVES_MAX, Place, Resolve, compile};
use crate::ids::{ChannelSlot, Millis};
use crate::issue::{INVALID_CONDITION, Issue};
use crate::time::{DAY_MS, Zone, parse_instant};
use serde_json::Value as Json;

/// The longest window of a cap: about 100 years, so that no window overflows an instant.
const WITHIN_MAX_MS: i64 = 36_525 * DAY_MS;

pub(super) fn created_at(node: &Node<'_>, zone: &Zone, issues: &mut Vec<Issue>) -> Millis {
    let Some(text) = node.text("createdAt", issues) else {
        return Millis(0);
    };
    parse_instant(text, zone).map_or_else(
        || {
            issues.push(field_issue(node, "createdAt", format!("createdAt is an instant, not {text:?}")));
            Millis(0)
        },
        crate::time::DateTimeLit::start,
    )
}

pub(super) fn caps(node: &Node<'_>, resolve: &dyn Resolve, issues: &mut Vec<Issue>) -> Box<[Cap]> {
    let nodes = node.objects("capping", issues);
    if nodes.len() > CAPS_MAX {
        issues.push(field_issue(node, "capping", format!("{} caps, limit is {CAPS_MAX}", nodes.len())));
    }
    nodes.iter().filter_map(|node| limit(node, None, resolve, issues)).collect()
}

/// Reads what counts, where, how often and how long. The group is read as well where none is given.
pub(super) fn limit(node: &Node<'_>, group: Option<Group>, resolve: &dyn Resolve, issues: &mut Vec<Issue>) -> Option<Cap> {
    let reaction = node.required_word("event", &REACTIONS, issues);
    let groups = [("user", Group::User), ("all", Group::All)];
    let group = group.or_else(|| node.required_word("group", &groups, issues));
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
    let count = count.and_then(|count| u64::try_from(count).ok());
    if let Some(count) = count.filter(|count| within_ms > 0 && *count > RING_MAX) {
        issues.push(field_issue(node, "count", format!("count within a time is at most {RING_MAX}, not {count}")));
    }
    let channels = channel_list(node, resolve, issues).into();
    Some(Cap { reaction: reaction?, group: group?, count: count?, within_ms: (within_ms > 0).then_some(within_ms), channels })
}

pub(super) fn test_users(node: &Node<'_>, resolve: &dyn Resolve, issues: &mut Vec<Issue>) -> Box<[TestUser]> {
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

pub(super) fn trait_conditions(
    targeting: &Node<'_>,
    resolve: &dyn Resolve,
    zone: &Zone,
    issues: &mut Vec<Issue>,
) -> Box<[TraitCondition]> {
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
pub(super) fn context_conditions(
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
                let message = "the clauses of a group name different channels";
                issues.push(Issue::new(item.pointer.clone(), INVALID_CONDITION, message));
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
