//! A small catalog and a person to try actions on.

use super::push::{ActionRef, Actions};
use super::{ActionDef, ActionType, BudgetDef, CapState, Person, Spending, View};
use crate::event::Props;
use crate::expr::{Facts, PathRef, Resolve, Source, descend};
use crate::ids::{
    ActionSlot, AudienceSlot, BudgetSlot, ChannelSlot, DefId, EventSlot, ExperimentSlot, Millis, PathId, ProfileId, TraitSlot,
};
use crate::issue::Issue;
use crate::schema::DataType;
use crate::time::{Zone, parse_rfc3339};
use crate::value::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;

pub(crate) const WEB: ChannelSlot = ChannelSlot(0);
pub(crate) const APP: ChannelSlot = ChannelSlot(1);
pub(crate) const BUYERS: AudienceSlot = AudienceSlot(0);
pub(crate) const CART_VIEWED: EventSlot = EventSlot(0);

/// Everything by a few fixed names: channels `web` and `app`, audiences `buyers` and `vips`, event
/// `cart_viewed`, custom traits `age vip d tags`, computed traits `revenue size orders`, and a
/// context with `page country`.
pub(crate) struct Names;

const CUSTOM: [(&str, DataType); 4] =
    [("age", DataType::Integer), ("vip", DataType::Boolean), ("d", DataType::DateTime), ("tags", DataType::Array)];
const COMPUTED: [(&str, DataType); 3] = [("revenue", DataType::Float), ("size", DataType::String), ("orders", DataType::Integer)];
const CONTEXT: [&str; 2] = ["page", "country"];

fn nth(names: &[&str], name: &str) -> Option<u32> {
    names.iter().position(|other| *other == name).and_then(|at| u32::try_from(at).ok())
}

impl Resolve for Names {
    fn event(&self, name: &str) -> Option<EventSlot> {
        nth(&["cart_viewed", "bought"], name).map(EventSlot)
    }
    fn channel(&self, key: &str) -> Option<ChannelSlot> {
        nth(&["web", "app"], key).and_then(|at| u16::try_from(at).ok()).map(ChannelSlot)
    }
    fn audience(&self, key: &str) -> Option<AudienceSlot> {
        nth(&["buyers", "vips"], key).map(AudienceSlot)
    }
    fn event_path(&self, _: EventSlot, _: &str) -> Option<PathRef> {
        None
    }
    fn event_type(&self, _: EventSlot, _: &str) -> Option<DataType> {
        None
    }
    fn custom_path(&self, dotted: &str) -> Option<PathRef> {
        CUSTOM.iter().position(|(name, _)| *name == dotted).map(|at| PathRef::leaf(PathId(u32::try_from(at).unwrap())))
    }
    fn custom_type(&self, dotted: &str) -> Option<DataType> {
        CUSTOM.iter().find(|(name, _)| *name == dotted).map(|(_, kind)| *kind)
    }
    fn context_path(&self, _: ChannelSlot, dotted: &str) -> Option<PathRef> {
        nth(&CONTEXT, dotted).map(|at| PathRef::leaf(PathId(100 + at)))
    }
    fn computed(&self, key: &str) -> Option<(TraitSlot, DataType)> {
        let at = COMPUTED.iter().position(|(name, _)| *name == key)?;
        Some((TraitSlot(u32::try_from(at).unwrap()), COMPUTED[at].1))
    }
}

/// An instant of RFC 3339 text.
pub(crate) fn at(text: &str) -> Millis {
    parse_rfc3339(text).unwrap_or_else(|| panic!("{text} is no instant"))
}

pub(crate) fn berlin() -> Zone {
    Zone::parse("Europe/Berlin").expect("the zone is built in")
}

/// The type that every test action has unless it says otherwise.
pub(crate) fn notification() -> ActionType {
    ActionType { name: "notification".into(), version: 1, ..ActionType::default() }
}

/// Compiles an action in Europe/Berlin, with all that is wrong with it.
pub(crate) fn try_action(json: &serde_json::Value) -> Result<ActionDef, Vec<Issue>> {
    let mut issues = Vec::new();
    let def = ActionDef::compile(json, &notification(), &Names, &berlin(), "/actions/0", &mut issues);
    match def {
        Some(def) if issues.is_empty() => Ok(def),
        _ => Err(issues),
    }
}

/// Compiles an action that is active on web and app unless `json` says otherwise.
pub(crate) fn action(mut json: serde_json::Value) -> ActionDef {
    let fields = json.as_object_mut().expect("an object");
    fields.entry("state").or_insert("active".into());
    let targeting = fields.entry("targeting").or_insert(serde_json::json!({}));
    targeting.as_object_mut().expect("an object").entry("channels").or_insert(serde_json::json!(["web", "app"]));
    try_action(&json).unwrap_or_else(|issues| panic!("{issues:#?}"))
}

/// Compiles a budget in Europe/Berlin, with all that is wrong with it.
pub(crate) fn try_budget(json: &serde_json::Value) -> Result<BudgetDef, Vec<Issue>> {
    let mut issues = Vec::new();
    let def = BudgetDef::compile(json, &Names, &berlin(), "/budgets/0", &mut issues);
    match def {
        Some(def) if issues.is_empty() => Ok(def),
        _ => Err(issues),
    }
}

/// A budget that must compile.
pub(crate) fn budget(json: serde_json::Value) -> BudgetDef {
    try_budget(&json).unwrap_or_else(|issues| panic!("{issues:#?}"))
}

/// A person made of plain maps.
#[derive(Clone, Debug, Default)]
pub(crate) struct Someone {
    pub(crate) ids: Vec<&'static str>,
    pub(crate) custom: BTreeMap<&'static str, Value>,
    pub(crate) computed: BTreeMap<&'static str, Value>,
    pub(crate) member_of: Vec<AudienceSlot>,
    pub(crate) caps: BTreeMap<ActionSlot, CapState>,
    pub(crate) arms: BTreeMap<ExperimentSlot, u16>,
    /// By slot: what is allowed, what is spent, and which actions are governed.
    pub(crate) budgets: Vec<(BudgetDef, CapState, Vec<u32>)>,
}

impl Facts for Someone {
    fn get<'a>(&'a self, source: &Source) -> Option<Cow<'a, Value>> {
        match source {
            Source::Custom(path) => descend(self.custom.get(CUSTOM[path.path.index()].0)?, &path.rest).map(Cow::Borrowed),
            Source::Computed(slot) => self.computed.get(COMPUTED[slot.index()].0).map(Cow::Borrowed),
            _ => None,
        }
    }
}

impl Person for Someone {
    fn owns(&self, user_id: &str) -> bool {
        self.ids.contains(&user_id)
    }
    fn member(&self, audience: AudienceSlot) -> bool {
        self.member_of.contains(&audience)
    }
    fn caps(&self, action: ActionSlot) -> Option<&CapState> {
        self.caps.get(&action)
    }
    fn arm(&self, experiment: ExperimentSlot) -> Option<u16> {
        self.arms.get(&experiment).copied()
    }
    fn profile(&self) -> ProfileId {
        ProfileId(1)
    }
    fn budgets(&self, action: ActionSlot, f: &mut dyn FnMut(Spending<'_>)) {
        for (slot, (def, spent, governed)) in (0..).zip(&self.budgets) {
            if governed.contains(&action.0) {
                f(Spending { slot: BudgetSlot(slot), name: "budget", def, spent: Some(spent) });
            }
        }
    }
}

/// A context with the given keys.
pub(crate) fn context(keys: &[(&str, Value)]) -> Props {
    Props::new(keys.iter().map(|(key, value)| (PathId(100 + nth(&CONTEXT, key).unwrap()), value.clone())).collect())
}

/// A view of action 0 on web without context or totals.
pub(crate) fn view(person: &Someone, now: Millis) -> View<'_> {
    View { action: ActionSlot(0), channel: WEB, now, person, context: None, totals: &super::NoTotals }
}

/// Actions by slot, all offered in every channel.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shelf {
    pub(crate) defs: BTreeMap<ActionSlot, (u64, ActionDef)>,
    pub(crate) slots: Vec<ActionSlot>,
}

impl Shelf {
    pub(crate) fn put(&mut self, slot: u32, def: ActionDef) {
        let version = self.defs.get(&ActionSlot(slot)).map_or(1, |(version, _)| version + 1);
        self.defs.insert(ActionSlot(slot), (version, def));
        self.slots = self.defs.keys().copied().collect();
    }

    pub(crate) fn remove(&mut self, slot: u32) {
        self.defs.remove(&ActionSlot(slot));
        self.slots = self.defs.keys().copied().collect();
    }
}

impl Actions for Shelf {
    fn action(&self, slot: ActionSlot) -> Option<ActionRef<'_>> {
        self.defs.get(&slot).map(|(version, def)| ActionRef { slot, id: DefId(u128::from(slot.0)), version: *version, def })
    }
    fn of_channel(&self, _: ChannelSlot) -> &[ActionSlot] {
        &self.slots
    }
}
