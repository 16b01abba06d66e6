//! The reaction log: what people did with actions, with what they sent along and what hooks answered.

use super::Engine;
use super::read::reaction_json;
use lodestone_state::event::{Entry, EntryKind, Reacted, Reaction};
use lodestone_state::ids::{ActionSlot, Millis};
use lodestone_state::plan::Plan;
use lodestone_state::profile::{Core, History};
use lodestone_state::store::Shared;
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Which reactions are wanted, and how many.
#[derive(Clone, Debug, Default)]
pub struct ReactionQuery {
    /// Of the action of this id or name.
    pub action: Option<String>,
    /// Of the person with this id.
    pub user_id: Option<String>,
    /// Of these kinds; empty for all.
    pub kinds: Vec<Reaction>,
    /// Also those of test users in staging, and those that an experiment held back.
    pub silent: bool,
    /// From this instant on.
    pub start: Option<Millis>,
    /// Before this instant.
    pub end: Option<Millis>,
    /// Rows to skip, newest first.
    pub offset: usize,
    /// Rows wanted.
    pub limit: usize,
}

/// What of a query names nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// No action has this id or name.
    Action,
    /// Nobody has this user id.
    User,
}

impl Engine {
    /// Reactions, newest first by log position, and how many there are in all. Reads the history of those
    /// who have reacted to the action, or of the one person asked for (of everybody for `silent`); a profile is locked for the copy of
    /// its unwritten entries only.
    ///
    /// # Errors
    /// What the query names and does not exist.
    pub fn reactions_json(&self, query: &ReactionQuery) -> Result<Value, Unknown> {
        let plan = self.plan.load_full();
        let action = match &query.action {
            None => None,
            Some(text) => Some(plan.catalog.action_slot(text).ok_or(Unknown::Action)?),
        };
        let people: Vec<Shared> = match &query.user_id {
            Some(user) => vec![self.store.find(user).ok_or(Unknown::User)?],
            None => self.store.all(),
        };
        let keep = query.offset.saturating_add(query.limit);
        // The newest so far, the oldest of them on top.
        let mut newest: BinaryHeap<Reverse<Row>> = BinaryHeap::new();
        let mut total = 0_u64;
        for shared in people {
            let profile = shared.lock();
            if profile.gone.is_some() || !(query.silent || counted(&profile.core, action)) {
                continue;
            }
            let entries = self.history().load(&profile);
            drop(profile);
            for entry in entries {
                let EntryKind::Reacted(reacted) = &entry.kind else { continue };
                if !query.wants(action, reacted, entry.moment.t) {
                    continue;
                }
                total += 1;
                newest.push(Reverse(Row(entry)));
                if newest.len() > keep {
                    newest.pop();
                }
            }
        }
        let mut rows: Vec<Entry> = newest.into_iter().map(|Reverse(Row(entry))| entry).collect();
        rows.sort_by_key(|entry| Reverse(entry.moment.seq));
        let data: Vec<Value> = rows.iter().skip(query.offset).map(|entry| row_json(&plan, entry)).collect();
        let seen = query.offset + data.len();
        let next = (total > seen as u64 && !data.is_empty()).then(|| seen.to_string());
        Ok(json!({"data": data, "nextCursor": next, "total": total}))
    }
}

fn row_json(plan: &Plan, entry: &Entry) -> Value {
    match &entry.kind {
        EntryKind::Reacted(reacted) => reaction_json(plan, entry, reacted),
        _ => Value::Null,
    }
}

/// Whoever has reacted in earnest has counts of it, so nobody else's history is read.
fn counted(core: &Core, action: Option<ActionSlot>) -> bool {
    action.map_or(!core.caps.is_empty(), |action| core.caps.get(action.0).is_some())
}

impl ReactionQuery {
    fn wants(&self, action: Option<ActionSlot>, reacted: &Reacted, t: Millis) -> bool {
        action.is_none_or(|action| action == reacted.action)
            && (self.kinds.is_empty() || self.kinds.contains(&reacted.reaction))
            && (self.silent || !reacted.test && reacted.reaction != Reaction::Withheld)
            && self.start.is_none_or(|start| t >= start)
            && self.end.is_none_or(|end| t < end)
    }
}

/// Ordered by log position alone.
struct Row(Entry);

impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        self.0.moment.seq == other.0.moment.seq
    }
}

impl Eq for Row {}

impl PartialOrd for Row {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Row {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.moment.seq.cmp(&other.0.moment.seq)
    }
}
