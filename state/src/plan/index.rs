//! Builds a plan: who must look when something happens, and what has to be built anew after a change.

use super::catalog::{Catalog, Definition, Kind};
use super::compile::{Parts, Pointers, stored};
use super::governing::Governing;
use super::plan::{
    ActionPlan, AudiencePlan, BudgetPlan, ChannelPlan, CustomTouch, EventPlan, ExperimentPlan, GoalPlan, Index, Plan, RulePlan,
    TokenGrant, TraitPlan,
};
use super::refs::{self, Named, Role, Target};
use super::remove::PURGE;
use super::resolve::Names;
use super::trials;
use crate::action::{ActionDef, State};
use crate::audience::AudienceDef;
use crate::expr::{PathRef, Resolve};
use crate::ids::{
    ActionSlot, AudienceSlot, BudgetSlot, ChannelSlot, EventSlot, ExperimentSlot, GoalSlot, Millis, PathId, RuleSlot, TraitSlot,
};
use crate::issue::Issue;
use crate::rule::{Metric, RuleDef};
use crate::schema::DataType;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Who looks at what. Lists are in slot order, without repeats.
#[derive(Default)]
struct Looks {
    event_traits: BTreeMap<usize, Vec<TraitSlot>>,
    event_audiences: BTreeMap<usize, Vec<AudienceSlot>>,
    event_actions: BTreeMap<usize, Vec<ActionSlot>>,
    event_rules: BTreeMap<usize, Vec<RuleSlot>>,
    event_goals: BTreeMap<usize, Vec<GoalSlot>>,
    goal_experiments: BTreeMap<usize, Vec<ExperimentSlot>>,
    trait_rules: BTreeMap<usize, Vec<RuleSlot>>,
    trait_audiences: BTreeMap<usize, Vec<AudienceSlot>>,
    trait_actions: BTreeMap<usize, Vec<ActionSlot>>,
    audience_actions: BTreeMap<usize, Vec<ActionSlot>>,
    audience_audiences: BTreeMap<usize, Vec<AudienceSlot>>,
    custom: BTreeMap<PathId, (Vec<AudienceSlot>, Vec<ActionSlot>)>,
    context_actions: BTreeMap<usize, Vec<ActionSlot>>,
    channel_actions: BTreeMap<usize, Vec<ActionSlot>>,
    always: Vec<AudienceSlot>,
    timed: Vec<ActionSlot>,
    /// Computed traits that events are compared with.
    compared: Vec<TraitSlot>,
}

pub(super) fn plan(catalog: Arc<Catalog>) -> Result<Plan, Vec<Issue>> {
    let mut pointers = Pointers::new();
    for kind in Kind::DEFINED {
        for (slot, definition) in catalog.definitions(kind).iter().enumerate() {
            pointers.insert((kind, slot), format!("/{}/{}", kind.section(), definition.id));
        }
    }
    let whole = catalog.clone();
    let (parts, paths, zone) = stored(&whole, &pointers)?;
    let looks = looks(&parts);
    let prints = Prints::new(&parts.names);
    let Parts { mut names, traits, audiences, actions, rules, goals, budgets, experiments } = parts;
    let governing = Governing::new(&catalog, &budgets);

    let events: Vec<Option<EventPlan>> = table(&catalog.events, |slot, event| {
        Some(EventPlan {
            slot: EventSlot(number(slot)),
            id: event.id,
            name: event.name.clone(),
            version: event.version(),
            schema: names.events[slot].pop()?.schema,
            traits: list(&looks.event_traits, slot),
            audiences: list(&looks.event_audiences, slot),
            actions: list(&looks.event_actions, slot),
            rules: list(&looks.event_rules, slot),
            goals: list(&looks.event_goals, slot),
        })
    });
    let channels: Vec<Option<ChannelPlan>> = table(&catalog.channels, |slot, channel| {
        let number = ChannelSlot(u16::try_from(slot).ok()?);
        let context = names.context_of(number);
        Some(ChannelPlan {
            slot: number,
            id: channel.id,
            key: channel.key.clone(),
            name: channel.name.clone(),
            context_version: context.map_or(0, |slot| catalog.contexts[slot].version()),
            context: context.and_then(|slot| names.contexts[slot].pop()).map(|version| version.schema),
            actions: list(&looks.channel_actions, slot),
            context_actions: list(&looks.context_actions, slot),
        })
    });
    let mut defs = traits.into_iter();
    let traits: Vec<Option<TraitPlan>> = table_with(&catalog.computed_traits, &mut defs, |slot, known, def| TraitPlan {
        slot: TraitSlot(number(slot)),
        id: known.id,
        key: known.key.clone(),
        name: known.name.clone(),
        def,
        audiences: list(&looks.trait_audiences, slot),
        actions: list(&looks.trait_actions, slot),
        rules: list(&looks.trait_rules, slot),
        fingerprint: prints.traits[slot],
    });
    let mut defs = audiences.into_iter();
    let audiences: Vec<Option<AudiencePlan>> = table_with(&catalog.audiences, &mut defs, |slot, known, def| AudiencePlan {
        slot: AudienceSlot(number(slot)),
        id: known.id,
        key: known.key.clone(),
        name: known.name.clone(),
        def,
        actions: list(&looks.audience_actions, slot),
        audiences: list(&looks.audience_audiences, slot),
        fingerprint: prints.audiences[slot],
    });
    let mut defs = actions.into_iter();
    let mut actions: Vec<Option<ActionPlan>> = table_with(&catalog.actions, &mut defs, |slot, known, def| ActionPlan {
        slot: ActionSlot(number(slot)),
        id: known.id,
        name: known.name.clone(),
        revision: known.revision,
        def: in_order(def, slot),
        fingerprint: prints.actions[slot],
    });
    let mut defs = rules.into_iter();
    let rules: Vec<Option<RulePlan>> = table_with(&catalog.rules, &mut defs, |slot, known, def| RulePlan {
        slot: RuleSlot(number(slot)),
        id: known.id,
        key: known.key.clone(),
        name: known.name.clone(),
        def,
        fingerprint: prints.rules[slot],
    });
    let mut defs = goals.into_iter();
    let goals: Vec<Option<GoalPlan>> = table_with(&catalog.goals, &mut defs, |slot, known, def| GoalPlan {
        slot: GoalSlot(number(slot)),
        id: known.id,
        key: known.key.clone(),
        name: known.name.clone(),
        def,
        experiments: list(&looks.goal_experiments, slot),
        fingerprint: prints.goals[slot],
    });
    let mut defs = budgets.into_iter();
    let budgets: Vec<Option<BudgetPlan>> = table_with(&catalog.budgets, &mut defs, |slot, known, def| BudgetPlan {
        slot: BudgetSlot(number(slot)),
        id: known.id,
        key: known.key.clone(),
        name: known.name.clone(),
        actions: governing.in_force(BudgetSlot(number(slot)), &actions),
        fingerprint: governing.print(BudgetSlot(number(slot)), &def, prints.budgets[slot]),
        def,
    });
    let mut defs = experiments.into_iter();
    let experiments: Vec<Option<ExperimentPlan>> =
        table_with(&catalog.experiments, &mut defs, |slot, known, def| ExperimentPlan {
            slot: ExperimentSlot(number(slot)),
            id: known.id,
            key: known.key.clone(),
            name: known.name.clone(),
            def,
            fingerprint: prints.experiments[slot],
        });
    trials::join(&experiments, &mut actions);
    let touches = looks
        .custom
        .into_iter()
        .map(|(path, (audiences, actions))| (path, CustomTouch { audiences: distinct(audiences), actions: distinct(actions) }));
    let mut plan = Plan {
        version: catalog.version,
        generation: 0,
        zone,
        paths: Arc::new(paths),
        custom_version: catalog.custom_traits.first().map_or(0, Definition::version),
        custom: names.custom.pop().map(|version| version.schema),
        open: names.open,
        custom_touch: touches.collect(),
        untouched: CustomTouch::default(),
        always: distinct(looks.always),
        timed: distinct(looks.timed),
        governing: governing.into_table(),
        always_rules: rules.iter().flatten().filter(|rule| begins_met(&rule.def, &traits)).map(|rule| rule.slot).collect(),
        purged_rules: purged(&catalog.rules),
        compared: distinct(looks.compared).into_iter().filter(|slot| timed(&traits, *slot)).collect(),
        event_names: events.iter().flatten().map(|event| (event.name.as_str().into(), event.slot)).collect(),
        channel_keys: channels.iter().flatten().map(|channel| (channel.key.as_str().into(), channel.slot)).collect(),
        trait_keys: traits.iter().flatten().map(|known| (known.key.as_str().into(), known.slot)).collect(),
        audience_keys: audiences.iter().flatten().map(|known| (known.key.as_str().into(), known.slot)).collect(),
        rule_keys: rules.iter().flatten().map(|known| (known.key.as_str().into(), known.slot)).collect(),
        goal_keys: goals.iter().flatten().map(|known| (known.key.as_str().into(), known.slot)).collect(),
        experiment_keys: experiments.iter().flatten().map(|known| (known.key.as_str().into(), known.slot)).collect(),
        action_ids: actions.iter().flatten().map(|action| (action.id, action.slot)).collect(),
        tokens: grants(&catalog),
        events,
        traits,
        audiences,
        actions,
        channels,
        rules,
        goals,
        budgets,
        experiments,
        catalog,
    };
    plan.generation = plan.fold_generation();
    Ok(plan)
}

/// Whether someone to whom nothing has happened meets the rule's condition.
fn begins_met(def: &RuleDef, traits: &[Option<TraitPlan>]) -> bool {
    let value = match def.metric {
        Metric::Trait { slot } => traits[slot.index()].as_ref().and_then(|known| known.def.default_value()),
        Metric::Events(_) | Metric::Nothing => def.default_value(),
    };
    def.meets(value.as_ref())
}

fn timed(traits: &[Option<TraitPlan>], slot: TraitSlot) -> bool {
    traits[slot.index()].as_ref().is_some_and(|known| known.def.timed())
}

/// Rules that were removed with the attributes that they set.
fn purged(rules: &[Definition]) -> Box<[RuleSlot]> {
    let gone = rules.iter().enumerate().filter(|(_, rule)| rule.removed && rule.json().get(PURGE) == Some(&Value::Bool(true)));
    gone.map(|(slot, _)| RuleSlot(number(slot))).collect()
}

/// Of two actions with one priority the older goes first. Those made here are in the order of their
/// slots, and younger than any that came with a time of its own.
fn in_order(mut def: ActionDef, slot: usize) -> ActionDef {
    if def.created_at == Millis(0) {
        def.created_at = Millis::MAX.minus(i64::from(u32::MAX) - i64::from(number(slot)));
    }
    def
}

fn grants(catalog: &Catalog) -> Index<[u8; 32], TokenGrant> {
    let grant =
        |token: &super::Token| TokenGrant { id: token.id, channel: token.channel, kind: token.kind, import: token.import };
    catalog.tokens.iter().map(|token| (token.sha256, grant(token))).collect()
}

fn looks(parts: &Parts<'_>) -> Looks {
    let (names, mut looks) = (&parts.names, Looks::default());
    let catalog = names.catalog;
    for (slot, known) in catalog.live(Kind::ComputedTrait) {
        for named in &refs::list(Kind::ComputedTrait, &known.json()) {
            if named.role == Role::Feed {
                push(&mut looks.event_traits, names.event(&named.text).map(EventSlot::index), TraitSlot(number(slot)));
            }
            looks.compared.extend(compared(parts, named));
        }
    }
    for (slot, known) in catalog.live(Kind::Audience) {
        let body = known.json();
        let audience = AudienceSlot(number(slot));
        if parts.audiences[slot].as_ref().is_some_and(holds_without_events) {
            looks.always.push(audience);
        }
        for named in refs::list(Kind::Audience, &body) {
            looks.compared.extend(compared(parts, &named));
            match (&named.target, named.role) {
                (Target::Definition(Kind::Event), Role::Feed) => {
                    let event = names.event(&named.text);
                    push(&mut looks.event_audiences, event.map(EventSlot::index), audience);
                }
                (Target::Definition(Kind::ComputedTrait), Role::Current) => {
                    let found = names.computed(&named.text);
                    push(&mut looks.trait_audiences, found.map(|(slot, _)| slot.index()), audience);
                }
                (Target::Definition(Kind::Audience), Role::Current) => {
                    let found = names.audience(&named.text);
                    push(&mut looks.audience_audiences, found.map(AudienceSlot::index), audience);
                }
                (Target::Custom, Role::Current) => {
                    if let Some(path) = names.custom_path(&named.text) {
                        looks.custom.entry(path.path).or_default().0.push(audience);
                    }
                }
                _ => {}
            }
        }
    }
    for (slot, _) in catalog.live(Kind::Action) {
        look_action(parts, slot, &mut looks);
    }
    for (slot, known) in catalog.live(Kind::Rule) {
        let rule = RuleSlot(number(slot));
        for named in refs::list(Kind::Rule, &known.json()) {
            looks.compared.extend(compared(parts, &named));
            match (&named.target, named.role) {
                (Target::Definition(Kind::Event), Role::Feed) => {
                    push(&mut looks.event_rules, names.event(&named.text).map(EventSlot::index), rule);
                }
                (Target::Definition(Kind::ComputedTrait), Role::Current) => {
                    push(&mut looks.trait_rules, names.computed(&named.text).map(|(slot, _)| slot.index()), rule);
                }
                _ => {}
            }
        }
    }
    trials::look(parts, &mut |found| match found {
        trials::Found::Goal(goal, experiment) => push(&mut looks.goal_experiments, Some(goal.index()), experiment),
        trials::Found::Computed(slot, action) => push(&mut looks.trait_actions, Some(slot.index()), action),
        trials::Found::Custom(path, action) => looks.custom.entry(path).or_default().1.push(action),
    });
    for (slot, known) in catalog.live(Kind::Goal) {
        for named in &refs::list(Kind::Goal, &known.json()) {
            if named.role == Role::Feed {
                push(&mut looks.event_goals, names.event(&named.text).map(EventSlot::index), GoalSlot(number(slot)));
            }
            looks.compared.extend(compared(parts, named));
        }
    }
    looks
}

/// The computed trait that events are compared with here.
fn compared(parts: &Parts<'_>, named: &refs::Named) -> Option<TraitSlot> {
    let here = named.role == Role::AsOfEvent && named.target == Target::Definition(Kind::ComputedTrait);
    let found = parts.names.computed(&named.text).filter(|_| here);
    found.map(|(slot, _)| slot)
}

fn look_action(parts: &Parts<'_>, slot: usize, looks: &mut Looks) {
    let Some(def) = &parts.actions[slot] else { return };
    let names = &parts.names;
    let action = ActionSlot(number(slot));
    for channel in &def.channels {
        push(&mut looks.channel_actions, Some(channel.index()), action);
    }
    if def.state == State::Inactive {
        return;
    }
    for channel in &def.channels {
        if def.reads_context(*channel) {
            push(&mut looks.context_actions, Some(channel.index()), action);
        }
    }
    if !def.time.is_always() {
        looks.timed.push(action);
    }
    let body = names.catalog.actions[slot].json();
    // The placeholders of the type's defaults count as the action's own.
    let kind = body.get("type").and_then(Value::as_str).and_then(|id| names.finders.seek_any(Kind::ActionType, id));
    let defaults = kind.map(|slot| refs::list(Kind::ActionType, &names.catalog.action_types[slot].json()));
    for named in refs::list(Kind::Action, &body).into_iter().chain(defaults.into_iter().flatten()) {
        match (&named.target, named.role) {
            (Target::Definition(Kind::Event), Role::Trigger) => {
                push(&mut looks.event_actions, names.event(&named.text).map(EventSlot::index), action);
            }
            (Target::Definition(Kind::ComputedTrait), Role::Current) => {
                push(&mut looks.trait_actions, names.computed(&named.text).map(|(slot, _)| slot.index()), action);
            }
            (Target::Definition(Kind::Audience), Role::Current) => {
                push(&mut looks.audience_actions, names.audience(&named.text).map(AudienceSlot::index), action);
            }
            (Target::Custom, Role::Current) => {
                if let Some(path) = names.custom_path(&named.text) {
                    looks.custom.entry(path.path).or_default().1.push(action);
                }
            }
            _ => {}
        }
    }
}

/// Whether someone to whom nothing has happened may belong: no chain to go through, and every count is
/// satisfied by none at all.
fn holds_without_events(def: &AudienceDef) -> bool {
    def.chains.is_empty() && def.conditions.iter().all(|condition| condition.lo == 0)
}

fn push<T: PartialEq>(lists: &mut BTreeMap<usize, Vec<T>>, at: Option<usize>, slot: T) {
    let Some(at) = at else { return };
    let list = lists.entry(at).or_default();
    if list.last() != Some(&slot) {
        list.push(slot);
    }
}

fn list<T: Copy + Ord>(lists: &BTreeMap<usize, Vec<T>>, slot: usize) -> Box<[T]> {
    distinct(lists.get(&slot).cloned().unwrap_or_default())
}

fn distinct<T: Ord>(mut list: Vec<T>) -> Box<[T]> {
    list.sort_unstable();
    list.dedup();
    list.into()
}

fn number(slot: usize) -> u32 {
    u32::try_from(slot).unwrap_or(u32::MAX)
}

fn table<T>(all: &[Definition], mut make: impl FnMut(usize, &Definition) -> Option<T>) -> Vec<Option<T>> {
    all.iter().enumerate().map(|(slot, known)| if known.removed { None } else { make(slot, known) }).collect()
}

fn table_with<D, T>(
    all: &[Definition],
    defs: &mut dyn Iterator<Item = Option<D>>,
    make: impl Fn(usize, &Definition, D) -> T,
) -> Vec<Option<T>> {
    all.iter().zip(defs).enumerate().map(|(slot, (known, def))| def.map(|def| make(slot, known, def))).collect()
}

/// Fingerprints by slot: equal ones mean that state built under one plan is right under the other.
struct Prints {
    traits: Vec<u64>,
    audiences: Vec<u64>,
    actions: Vec<u64>,
    rules: Vec<u64>,
    goals: Vec<u64>,
    budgets: Vec<u64>,
    experiments: Vec<u64>,
}

impl Prints {
    fn new(names: &Names<'_>) -> Self {
        let catalog = names.catalog;
        let traits: Vec<u64> =
            catalog.computed_traits.iter().map(|known| print(names, Kind::ComputedTrait, known, &[])).collect();
        let audiences = catalog.audiences.iter().map(|known| print(names, Kind::Audience, known, &traits)).collect();
        let actions = catalog.actions.iter().map(|known| print(names, Kind::Action, known, &traits)).collect();
        let all = |kind| catalog.definitions(kind).iter().map(|known| print(names, kind, known, &traits)).collect();
        let (rules, goals) = (all(Kind::Rule), all(Kind::Goal));
        let (budgets, experiments) = (all(Kind::Budget), all(Kind::Experiment));
        Self { traits, audiences, actions, rules, goals, budgets, experiments }
    }
}

/// SHA-256, cut to 64 bits, over what a definition says (but for its labels), where what it names is
/// found, the fingerprints of the traits that it reads, and the time zone where it reads dates.
fn print(names: &Names<'_>, kind: Kind, known: &Definition, traits: &[u64]) -> u64 {
    let mut body = known.json();
    if let Value::Object(map) = &mut body {
        map.retain(|field, _| !matches!(field.as_str(), "name" | "key" | "description" | "createdAt"));
        if kind == Kind::Rule {
            // What follows when a rule fires is not in anybody's state.
            map.remove("then");
        }
    }
    let text = body.to_string();
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    part(kind.section().as_bytes());
    part(text.as_bytes());
    if !matches!(kind, Kind::ComputedTrait | Kind::Audience) || text.contains("dateTime") {
        part(names.catalog.organization.timezone.as_bytes());
    }
    for named in refs::list(kind, &body) {
        part(format!("{:?}", place(names, &named)).as_bytes());
        if named.target == Target::Definition(Kind::ComputedTrait)
            && let Some(print) = names.computed(&named.text).and_then(|(slot, _)| traits.get(slot.index()))
        {
            part(&print.to_le_bytes());
        }
        if named.target == Target::Definition(Kind::ActionType)
            && let Some(slot) = names.finders.seek_any(Kind::ActionType, &named.text)
        {
            part(names.catalog.action_types[slot].body.as_bytes());
        }
    }
    let digest = hash.finalize();
    u64::from_le_bytes([digest[0], digest[1], digest[2], digest[3], digest[4], digest[5], digest[6], digest[7]])
}

#[derive(Debug)]
#[expect(dead_code, reason = "read by Debug, whose text is what a fingerprint covers")]
enum Place {
    Nowhere,
    Slot(usize, bool),
    /// With the declared type, which a definition takes that names none.
    Path(PathRef, Option<DataType>),
}

fn place(names: &Names<'_>, named: &Named) -> Place {
    let typed = |path: Option<PathRef>, data_type| path.map_or(Place::Nowhere, |path| Place::Path(path, data_type));
    match &named.target {
        Target::Definition(kind) => {
            let found = names.finders.seek_any(*kind, &named.text);
            // An archived type serves on as if nothing had happened.
            let gone = |slot: usize| *kind != Kind::ActionType && names.catalog.definitions(*kind)[slot].removed;
            found.map_or(Place::Nowhere, |slot| Place::Slot(slot, gone(slot)))
        }
        Target::Custom => typed(names.custom_path(&named.text), None),
        Target::Property(event) => {
            let Some(event) = names.event(event) else { return Place::Nowhere };
            typed(names.event_path(event, &named.text), names.event_type(event, &named.text))
        }
        Target::Context(channel) => {
            typed(names.channel(channel).and_then(|channel| names.context_path(channel, &named.text)), None)
        }
    }
}
