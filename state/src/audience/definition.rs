//! The definition of an audience, from its JSON to conditions and chains.

use super::count::{CountDef, Window};
use super::funnel::{Anchor, ChainDef, GuardDef, STEPS_MAX, StepDef};
use super::matcher::Matcher;
use crate::expr::{self, EarlierStep, Expr, PathRef, Place, Resolve, Source};
use crate::ids::EventSlot;
use crate::issue::Issue;
use crate::time::{DAY_MS, Zone};
use crate::traits::definition::{NO_EVENT, Reader, reads_profile, unit_ms};
use serde_json::Value as Json;

/// Events of one audience.
pub const EVENTS_MAX: usize = 64;
/// The greatest count of one condition, and of all steps of a chain together.
pub const COUNT_MAX: u64 = 1000;
/// Chains of one audience.
pub const CHAINS_MAX: usize = 32;
/// The longest window: a hundred years.
const WINDOW_MS_MAX: i64 = 36_525 * DAY_MS;

/// A compiled audience.
#[derive(Clone, Debug)]
pub struct AudienceDef {
    /// Whether profiles without a known identity may belong.
    pub include_anonymous: bool,
    /// Conditions on how often an event happened.
    pub conditions: Box<[CountDef]>,
    /// Chains of events.
    pub chains: Box<[ChainDef]>,
    /// Conditions on traits.
    pub traits: Expr,
    /// A further completion by a member is told as another enter (`reentry: each`).
    pub enter_each: bool,
    /// The chain whose captures `traits` compares with, if it does.
    pub(super) traits_chain: Option<usize>,
    reads_profile: bool,
}

impl AudienceDef {
    /// Compiles a definition. `pointer` is where it stands in its document.
    ///
    /// # Errors
    /// `None`, with every problem pushed to `issues`: `definition_invalid`, `event_not_found`,
    /// `channel_not_found`, and `invalid_condition` for the conditions.
    pub fn compile(json: &Json, resolve: &dyn Resolve, zone: &Zone, pointer: &str, issues: &mut Vec<Issue>) -> Option<Self> {
        let before = issues.len();
        let mut reader = Reader { issues };
        let list = reader.list(json, "events", pointer);
        if list.len() > EVENTS_MAX {
            reader.refuse(format!("{pointer}/events"), format!("{} events, limit is {EVENTS_MAX}", list.len()));
            return None;
        }
        let form = reader.text(json, "type", pointer).unwrap_or_default();
        if !matches!(form, "" | "events" | "funnel") {
            reader.refuse(format!("{pointer}/type"), format!("type {form:?} is neither events nor funnel"));
        }
        let mut builder = Builder { reader, resolve, zone, pointer, nodes: Vec::new() };
        for (i, step) in list.iter().enumerate() {
            let node = builder.node(i, step);
            builder.nodes.push(node);
        }
        // Everything is looked at whatever was wrong before, so that all problems are told at once.
        builder.link(form);
        builder.conditions(list);
        let traits = builder.traits(json);
        let window_from_first = builder.reader.duration(json, "windowFromFirst", pointer);
        let anchor = builder.anchor(json, pointer);
        let enter_each = builder.reentry(json);
        let include_anonymous = builder.reader.flag(json, "includeAnonymous", pointer, false);
        let (conditions, chains) = builder.assemble(traits.as_ref(), window_from_first, anchor);
        let traits_chain = traits.as_ref().and_then(|traits| builder.traits_chain(traits, &chains));
        if builder.reader.issues.len() > before {
            return None;
        }
        let mut def = Self {
            include_anonymous,
            conditions: conditions.into(),
            chains: chains.into(),
            traits: traits?,
            enter_each,
            traits_chain,
            reads_profile: false,
        };
        let reads = def.matchers().any(|matcher| reads_profile(&matcher.condition));
        def.reads_profile = reads;
        Some(def)
    }

    /// Everything that an event can match, conditions first.
    pub fn matchers(&self) -> impl Iterator<Item = &Matcher> {
        let chains = self.chains.iter().flat_map(|chain| chain.nodes.iter());
        self.conditions.iter().map(|condition| &condition.matcher).chain(chains)
    }

    /// The events that may change membership, sorted.
    #[must_use]
    pub fn events(&self) -> Vec<EventSlot> {
        let mut events: Vec<EventSlot> = self.matchers().map(|matcher| matcher.event).collect();
        events.sort_unstable();
        events.dedup();
        events
    }

    /// Whether conditions on events read traits of the profile as of the event. Such an audience depends
    /// on everything that was before an event, so a late event of any kind may change it.
    #[must_use]
    pub fn reads_profile(&self) -> bool {
        self.reads_profile
    }
}

/// One entry of `events` while it is read.
struct Node {
    event: Option<EventSlot>,
    internal_id: String,
    parent: Option<String>,
    /// Index of the parent.
    above: Option<usize>,
    lo: u32,
    hi: Option<u32>,
    window: Window,
    gap_min_ms: Option<i64>,
    gap_max_ms: Option<i64>,
    within_ms: Option<i64>,
    for_at_least_ms: Option<i64>,
    window_from_first_ms: Option<i64>,
    anchor: Option<Anchor>,
    matcher: Option<Matcher>,
    captures: Vec<PathRef>,
}

impl Node {
    /// Must happen for a chain to go on.
    fn positive(&self) -> bool {
        self.lo > 0
    }

    /// Limits something without asking for anything.
    fn guard(&self) -> bool {
        self.lo == 0 && self.hi.is_some()
    }
}

struct Builder<'a> {
    reader: Reader<'a>,
    resolve: &'a dyn Resolve,
    zone: &'a Zone,
    pointer: &'a str,
    nodes: Vec<Node>,
}

impl Builder<'_> {
    fn at(&self, i: usize) -> String {
        format!("{}/events/{i}", self.pointer)
    }

    fn node(&mut self, i: usize, json: &Json) -> Node {
        let pointer = self.at(i);
        let key = if json.get("id").is_some_and(|id| !id.is_null()) { "id" } else { "eventId" };
        let event = self.reader.event(json, key, self.resolve, &pointer);
        let (lo, hi) = self.numbers(json, &pointer);
        let gaps = self.reader.object(json, "withinPrevious", &pointer);
        let gap_pointer = format!("{pointer}/withinPrevious");
        let node = Node {
            event,
            internal_id: self.reader.text(json, "internalId", &pointer).unwrap_or_default().to_owned(),
            parent: self.reader.text(json, "parentId", &pointer).map(ToOwned::to_owned),
            above: None,
            lo,
            hi,
            window: self.window(json, &pointer),
            gap_min_ms: self.reader.duration(gaps, "min", &gap_pointer),
            gap_max_ms: self.reader.duration(gaps, "max", &gap_pointer),
            within_ms: self.reader.duration(json, "within", &pointer),
            for_at_least_ms: self.reader.duration(json, "forAtLeast", &pointer),
            window_from_first_ms: self.reader.duration(json, "windowFromFirst", &pointer),
            anchor: json.get("anchor").filter(|anchor| !anchor.is_null()).map(|_| self.anchor(json, &pointer)),
            matcher: None,
            captures: Vec::new(),
        };
        let exclusion = node.hi == Some(0);
        if !exclusion && (node.within_ms.is_some() || node.for_at_least_ms.is_some()) {
            self.reader.refuse(&pointer, "within and forAtLeast are for events that must not happen");
        }
        if !node.positive() && (node.gap_min_ms.is_some() || node.gap_max_ms.is_some()) {
            self.reader.refuse(gap_pointer, "withinPrevious is for steps that must happen");
        } else if node.gap_min_ms.zip(node.gap_max_ms).is_some_and(|(min, max)| min > max) {
            self.reader.refuse(gap_pointer, "min is above max, so the step could never come");
        }
        node
    }

    /// The least and the greatest number of matches.
    fn numbers(&mut self, json: &Json, pointer: &str) -> (u32, Option<u32>) {
        if self.reader.flag(json, "exclude", pointer, false) {
            return (0, Some(0));
        }
        let count = self.reader.whole(json, "count", pointer, COUNT_MAX).and_then(|count| u32::try_from(count).ok());
        let count = count.unwrap_or(1);
        match self.reader.text(json, "operator", pointer) {
            None if json.get("operator").is_some_and(Json::is_string) => (count, Some(count)),
            None | Some("more_or_exactly") => (count, None),
            Some("more_than") => (count + 1, None),
            Some("less_or_exactly") => (0, Some(count)),
            Some("less_than") if count == 0 => {
                self.reader.refuse(format!("{pointer}/count"), "nothing happens less than 0 times");
                (0, Some(0))
            }
            Some("less_than") => (0, Some(count - 1)),
            Some(_) => (count, Some(count)),
        }
    }

    fn window(&mut self, json: &Json, pointer: &str) -> Window {
        let operator = self.reader.text(json, "timeWindowOperator", pointer).unwrap_or_default();
        if !matches!(operator, "within" | "in_between") {
            if !matches!(operator, "" | "any_time") {
                let message = format!("timeWindowOperator {operator:?} is none of any_time, within, in_between");
                self.reader.refuse(format!("{pointer}/timeWindowOperator"), message);
            }
            return Window::Any;
        }
        let unit = self.reader.text(json, "timeWindowUnit", pointer);
        let unit = unit_ms(unit.unwrap_or("days")).unwrap_or_else(|| {
            self.reader.refuse(format!("{pointer}/timeWindowUnit"), "unit is one of seconds, minutes, hours, days, weeks");
            1000
        });
        let max = (WINDOW_MS_MAX / unit).unsigned_abs();
        let mut read = |key: &str| {
            let amount = self.reader.whole(json, key, pointer, max).unwrap_or(0);
            i64::try_from(amount).unwrap_or(0) * unit
        };
        let (start, end) = (read("timeWindowStart"), read("timeWindowEnd"));
        // The admin UI of the original stores the length of `within` under start, its server reads end.
        let length = if end > 0 { end } else { start };
        if operator == "within" && length == 0 {
            self.reader.refuse(format!("{pointer}/timeWindowEnd"), "a window has a length");
        }
        if operator == "in_between" && start >= end {
            self.reader.refuse(format!("{pointer}/timeWindowStart"), "the start of a window is before its end");
        }
        if operator == "within" { Window::Within(length) } else { Window::Between(start, end) }
    }

    fn anchor(&mut self, json: &Json, pointer: &str) -> Anchor {
        match json.get("anchor").filter(|anchor| !anchor.is_null()).map(|anchor| anchor.as_str().unwrap_or_default()) {
            None | Some("last") => Anchor::Last,
            Some("first") => Anchor::First,
            Some(_) => {
                self.reader.refuse(format!("{pointer}/anchor"), "anchor is first or last");
                Anchor::Last
            }
        }
    }

    fn reentry(&mut self, json: &Json) -> bool {
        match json.get("reentry").filter(|reentry| !reentry.is_null()).map(|reentry| reentry.as_str().unwrap_or_default()) {
            None | Some("" | "once") => false,
            Some("each") => true,
            Some(_) => {
                self.reader.refuse(format!("{}/reentry", self.pointer), "reentry is each, or absent");
                false
            }
        }
    }

    /// Finds parents, and refuses what is no forest.
    fn link(&mut self, form: &str) {
        for i in 0..self.nodes.len() {
            let pointer = self.at(i);
            let id = &self.nodes[i].internal_id;
            if !id.is_empty() && self.nodes[..i].iter().any(|other| other.internal_id == *id) {
                self.reader.refuse(format!("{pointer}/internalId"), format!("internalId {id:?} is used twice"));
            }
            let Some(parent) = &self.nodes[i].parent else {
                if self.nodes[i].gap_min_ms.is_some() || self.nodes[i].gap_max_ms.is_some() {
                    self.reader.refuse(format!("{pointer}/withinPrevious"), "the first step has no step before it");
                }
                continue;
            };
            let above = self.nodes.iter().position(|other| other.internal_id == *parent);
            if above.is_none() {
                self.reader.refuse(format!("{pointer}/parentId"), format!("no event has the internalId {parent:?}"));
            }
            if form == "events" {
                self.reader.refuse(format!("{pointer}/parentId"), "events follow each other in a funnel only");
            }
            self.nodes[i].above = above;
        }
        for i in 0..self.nodes.len() {
            if self.path(i).is_none() {
                self.reader.refuse(format!("{}/parentId", self.at(i)), "the chain bites its own tail");
            }
        }
    }

    /// The nodes from the root down to `i`; `None` in a circle.
    fn path(&self, i: usize) -> Option<Vec<usize>> {
        let mut path = vec![i];
        let mut at = i;
        while let Some(above) = self.nodes[at].above {
            if path.len() > self.nodes.len() {
                return None;
            }
            path.push(above);
            at = above;
        }
        path.reverse();
        Some(path)
    }

    /// Compiles the property conditions, which may compare with steps further up.
    fn conditions(&mut self, list: &[Json]) {
        for (i, json) in list.iter().enumerate() {
            let pointer = self.at(i);
            let channels = self.reader.channels(json, self.resolve, &pointer);
            let path = self.path(i).unwrap_or_default();
            let above = path.split_last().map_or(&[][..], |(_, above)| above);
            let earlier = earlier(&self.nodes, above);
            let event = self.nodes[i].event.unwrap_or(NO_EVENT);
            let place = Place::AudienceStep { event, earlier: &earlier };
            let conditions = self.reader.list(json, "properties", &pointer);
            let at = format!("{pointer}/properties");
            let condition = expr::compile(conditions, place, self.resolve, self.zone, &at, self.reader.issues);
            if let Some(condition) = condition {
                self.note_captures(&condition);
                self.nodes[i].matcher = Some(Matcher::new(event, channels, condition));
            }
        }
    }

    fn note_captures(&mut self, condition: &Expr) {
        let nodes = &mut self.nodes;
        condition.sources(&mut |source| {
            if let Source::Captured { step, path } = source {
                let captures = &mut nodes[usize::from(*step)].captures;
                if !captures.contains(path) {
                    captures.push(path.clone());
                }
            }
        });
    }

    fn traits(&mut self, json: &Json) -> Option<Expr> {
        let list = self.reader.list(json, "traits", self.pointer);
        let all: Vec<usize> = (0..self.nodes.len()).collect();
        let earlier = earlier(&self.nodes, &all);
        let place = Place::AudienceTrait { earlier: &earlier };
        let at = format!("{}/traits", self.pointer);
        let traits = expr::compile(list, place, self.resolve, self.zone, &at, self.reader.issues);
        if let Some(traits) = &traits {
            self.note_captures(traits);
        }
        traits
    }

    /// The chain that has all steps which `traits` compares with.
    fn traits_chain(&mut self, traits: &Expr, chains: &[ChainDef]) -> Option<usize> {
        let mut steps = Vec::new();
        traits.sources(&mut |source| {
            if let Source::Captured { step, .. } = source {
                steps.push(*step);
            }
        });
        if steps.is_empty() {
            return None;
        }
        let has = |chain: &ChainDef| steps.iter().all(|step| chain.steps.iter().any(|def| def.number == *step));
        let found = chains.iter().position(has);
        if found.is_none() {
            let message = "trait conditions compare with the steps of one chain";
            self.reader.refuse(format!("{}/traits", self.pointer), message);
        }
        found
    }

    /// Conditions and chains. A root that limits or stands alone is a condition of its own, and what hangs
    /// below a root that limits begins a chain itself; a step with several followers begins several chains.
    fn assemble(
        &mut self,
        traits: Option<&Expr>,
        window_from_first: Option<i64>,
        anchor: Anchor,
    ) -> (Vec<CountDef>, Vec<ChainDef>) {
        let mut captured = Vec::new();
        if let Some(traits) = traits {
            traits.sources(&mut |source| {
                if let Source::Captured { step, .. } = source {
                    captured.push(usize::from(*step));
                }
            });
        }
        let (mut conditions, mut paths) = (Vec::new(), Vec::new());
        for i in 0..self.nodes.len() {
            let path = self.path(i).unwrap_or_default();
            let leaf = !self.nodes.iter().any(|node| node.above == Some(i));
            let leading = path.iter().take_while(|&&i| !self.nodes[i].positive()).count();
            let alone = leading + 1 == path.len() && leaf && !captured.contains(&i);
            if leading == path.len() || alone {
                conditions.extend(self.condition(i));
            } else if leaf {
                paths.push(path[leading..].to_vec());
            }
        }
        if paths.len() > CHAINS_MAX {
            let message = format!("{} chains, limit is {CHAINS_MAX}", paths.len());
            self.reader.refuse(format!("{}/events", self.pointer), message);
            paths.clear();
        }
        let chains = paths.iter().filter_map(|path| self.chain(path, window_from_first, anchor)).collect();
        (conditions, chains)
    }

    fn condition(&self, i: usize) -> Option<CountDef> {
        let node = &self.nodes[i];
        let number = u16::try_from(i).ok()?;
        Some(CountDef { matcher: node.matcher.clone()?, lo: node.lo, hi: node.hi, window: node.window, number })
    }

    fn chain(&mut self, path: &[usize], window_from_first: Option<i64>, anchor: Anchor) -> Option<ChainDef> {
        let (mut matchers, mut steps): (Vec<Option<Matcher>>, Vec<StepDef>) = (Vec::new(), Vec::new());
        let (mut window_from_first, mut anchor) = (window_from_first, anchor);
        let last = path.iter().rposition(|&i| self.nodes[i].positive()).unwrap_or(0);
        for (place, &i) in path.iter().enumerate() {
            if self.nodes[i].for_at_least_ms.is_some() && place < last {
                let message = "an absence that must last is the end of a chain";
                self.reader.refuse(format!("{}/forAtLeast", self.at(i)), message);
            }
            let node = &self.nodes[i];
            window_from_first = node.window_from_first_ms.or(window_from_first);
            anchor = node.anchor.unwrap_or(anchor);
            let number = u16::try_from(i).ok()?;
            if node.positive() {
                let (starts_ms, ends_ms) = match node.window {
                    Window::Any => (None, None),
                    Window::Within(ms) => (None, Some(ms)),
                    Window::Between(start, end) => (Some(start), Some(end)),
                };
                steps.push(StepDef {
                    number,
                    node: matchers.len(),
                    times: node.lo,
                    exact: node.hi.is_some(),
                    starts_ms,
                    ends_ms,
                    gap_min_ms: node.gap_min_ms,
                    gap_max_ms: node.gap_max_ms,
                    guards: Box::default(),
                    captures: node.captures.clone(),
                });
            } else if node.guard() {
                let guard = GuardDef {
                    number,
                    node: matchers.len(),
                    hi: node.hi.unwrap_or(0),
                    within_ms: node.within_ms,
                    for_at_least_ms: node.for_at_least_ms,
                    window: node.window,
                };
                let step = steps.last_mut()?;
                let guards = std::mem::take(&mut step.guards);
                step.guards = guards.into_iter().chain([guard]).collect();
            } else {
                // "At least 0 times" asks for nothing.
                continue;
            }
            matchers.push(node.matcher.clone());
        }
        let times: u32 = steps.iter().map(|step| step.times).sum();
        if steps.len() > STEPS_MAX || u64::from(times) > COUNT_MAX {
            let message = format!("{} steps with {times} events, limits are {STEPS_MAX} and {COUNT_MAX}", steps.len());
            self.reader.refuse(format!("{}/events", self.pointer), message);
        }
        // A matcher is missing where the conditions of its step do not compile, which has been told.
        Some(ChainDef::new(matchers.into_iter().collect::<Option<_>>()?, steps, window_from_first, anchor))
    }
}

/// The steps among these that `funnel_property` may name: those that must happen.
fn earlier<'a>(nodes: &'a [Node], among: &[usize]) -> Vec<EarlierStep<'a>> {
    let steps = among.iter().filter_map(|&i| {
        let node = &nodes[i];
        let step = u16::try_from(i).ok()?;
        let named = node.positive() && !node.internal_id.is_empty();
        Some(EarlierStep { internal_id: &node.internal_id, event: node.event.unwrap_or(NO_EVENT), step }).filter(|_| named)
    });
    steps.collect()
}
