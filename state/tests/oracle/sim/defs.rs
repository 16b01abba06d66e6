//! A catalog of random definitions that changes while it is in use, as a document and evaluated naively.

use crate::oracle::chains::{Chain, Step, busy_chain, chain};
use crate::oracle::conditions::Cond;
use crate::oracle::members::{Count, Seen, count, merge, seen};
use crate::oracle::rig::Entry;
use crate::oracle::values::{Spec, spec};
use lodestone_state::ids::{Millis, Moment};
use lodestone_state::plan::{Catalog, CatalogDocument, Kind, Plan};
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use std::sync::Arc;

/// Traits and audiences that there are at most.
pub(crate) const TRAITS: usize = 2;
pub(crate) const AUDIENCES: usize = 4;

/// What is counted of a person.
#[derive(Clone, Debug)]
enum Events {
    Counts(Vec<Count>),
    Chain(Chain),
    Nothing,
}

/// What is asked of the person themselves.
#[derive(Clone, Debug)]
enum Clause {
    /// The favourite is this one.
    Favourite(char),
    /// A count is greater.
    Above(usize, i64),
    /// Is a member of an earlier audience, or is not.
    Member(usize, bool),
}

#[derive(Clone, Debug)]
pub(crate) struct Audience {
    events: Events,
    clauses: Vec<Clause>,
    anonymous: bool,
}

/// What there is at one time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Defs {
    traits: [Option<Spec>; TRAITS],
    audiences: [Option<Audience>; AUDIENCES],
    /// The same as they were asked for, with comparisons that cannot be made at the time.
    drawn: ([Option<Spec>; TRAITS], [Option<Audience>; AUDIENCES]),
}

/// One change.
#[derive(Clone, Debug)]
pub(crate) enum Edit {
    Trait(usize, Option<Spec>),
    Audience(usize, Option<Audience>),
}

/// A person as conditions see them: their log, their favourite, whether they are known.
pub(crate) struct Person<'a> {
    pub(crate) log: &'a [(Moment, Entry)],
    pub(crate) favourite: Option<char>,
    pub(crate) known: bool,
}

impl Defs {
    pub(crate) fn edit(&mut self, edit: &Edit) {
        match edit {
            Edit::Trait(i, spec) => self.drawn.0[*i].clone_from(spec),
            Edit::Audience(i, audience) => self.drawn.1[*i].clone_from(audience),
        }
        (self.traits, self.audiences) = self.drawn.clone();
        let keys: [Option<String>; TRAITS] =
            std::array::from_fn(|i| self.trait_key(i).filter(|_| self.traits[i].as_ref().is_some_and(Spec::counts)));
        let of_traits = self.traits.iter_mut().flatten().map(|spec| &mut spec.conditions);
        of_traits.chain(self.audiences.iter_mut().flatten().flat_map(Audience::conditions)).for_each(|conditions| {
            // What is compared with is named by the key that it has now, if it has one.
            conditions.retain_mut(|cond| match cond {
                Cond::AboveComputed(place, key) => keys[*place].clone().is_some_and(|now| {
                    *key = now;
                    true
                }),
                _ => true,
            });
        });
    }

    /// A log, with what computed traits are just before each event.
    pub(crate) fn with_computed(&self, log: Vec<(Moment, Entry)>) -> Vec<(Moment, Entry)> {
        let mut told = Vec::new();
        for (moment, entry) in log {
            if matches!(entry, Entry::Event(_)) {
                let counting = |spec: &Option<Spec>| spec.as_ref().filter(|spec| spec.counts())?.value(&told, moment.t).as_i64();
                let computed = self.traits.iter().map(counting).collect();
                told.push((moment, Entry::Computed(computed)));
            }
            told.push((moment, entry));
        }
        told
    }

    /// The key of a trait, if there is one in this place. A definition is of one type for ever: what is of
    /// another type has another key.
    pub(crate) fn trait_key(&self, i: usize) -> Option<String> {
        self.traits[i].as_ref().map(|spec| format!("t{i}_{}", spec.kind))
    }

    /// The same of an audience.
    pub(crate) fn audience_key(&self, i: usize) -> Option<String> {
        let chained = |audience: &Audience| matches!(audience.events, Events::Chain(_));
        self.audiences[i].as_ref().map(|audience| format!("a{i}_{}", if chained(audience) { "chain" } else { "counts" }))
    }

    fn keys(&self) -> Vec<String> {
        let traits = (0..TRAITS).filter_map(|i| self.trait_key(i));
        traits.chain((0..AUDIENCES).filter_map(|i| self.audience_key(i))).collect()
    }

    /// What names something that is there, and can be compared.
    fn stands(&self, clause: &Clause) -> bool {
        match clause {
            Clause::Favourite(_) => true,
            Clause::Above(i, _) => self.traits[*i].as_ref().is_some_and(Spec::counts),
            Clause::Member(i, _) => self.audiences[*i].is_some(),
        }
    }

    fn document(&self) -> Json {
        let traits = self.traits.iter().enumerate().filter_map(|(i, spec)| {
            let mut json = spec.as_ref()?.json();
            let key = self.trait_key(i);
            merge(&mut json, &json!({"name": key, "key": key}));
            Some(json)
        });
        let audiences = self.audiences.iter().enumerate().filter_map(|(i, audience)| {
            let audience = audience.as_ref()?;
            let clauses = audience.clauses.iter().filter(|clause| self.stands(clause));
            let key = self.audience_key(i);
            let mut json = json!({"name": key, "key": key, "includeAnonymous": audience.anonymous,
                                  "events": audience.events(), "traits": clauses.map(|clause| self.clause(clause)).collect::<Vec<_>>()});
            if let Events::Chain(chain) = &audience.events {
                merge(&mut json, &chain.json());
            }
            Some(json)
        });
        let property = |key: &str, kind: &str| json!({"id": key, "name": key, "properties": {"key": key, "type": kind}});
        let structure = json!([
            property("product", "string"),
            property("n", "integer"),
            property("price", "float"),
            property("when", "dateTime"),
            property("tags", "array")
        ]);
        let events: Vec<Json> = ["A", "B", "C", "X", "P", "Q"]
            .iter()
            .map(|name| json!({"name": name, "description": "", "structure": structure}))
            .collect();
        json!({
            "organization": {"name": "Shop", "timezone": "Europe/Berlin"},
            "channels": [{"name": "web", "key": "web"}, {"name": "app", "key": "app"}],
            "events": events,
            "customTraits": {"structure": [property("fav", "string")]},
            "computedTraits": traits.collect::<Vec<_>>(),
            "audiences": audiences.collect::<Vec<_>>(),
        })
    }

    /// The catalog with exactly these, after another.
    pub(crate) fn compile(&self, before: &Catalog) -> Plan {
        let document = self.document();
        let parsed = CatalogDocument::parse(&document.to_string()).unwrap_or_else(|issues| panic!("{issues:?}"));
        let (mut catalog, _) = before.apply(&parsed).unwrap_or_else(|issues| panic!("{issues:?}"));
        let keys = self.keys();
        for kind in [Kind::Audience, Kind::ComputedTrait] {
            let live: Vec<String> = catalog.live(kind).map(|(_, one)| one.name.clone()).collect();
            for key in live.into_iter().filter(|key| !keys.contains(key)) {
                catalog = catalog.remove(kind, &key, false).unwrap_or_else(|issues| panic!("{issues:?} without {key}")).0;
            }
        }
        Plan::compile(Arc::new(catalog)).expect("compiles")
    }

    fn clause(&self, clause: &Clause) -> Json {
        let compare = |source: &str, key: &str, data_type: &str, operator: &str, value: &str| json!({"source": source, "key": key, "dataType": data_type, "operator": operator, "target": "static", "value": value});
        match clause {
            Clause::Favourite(favourite) => compare("custom", "fav", "string", "equals", &favourite.to_string()),
            Clause::Above(i, n) => {
                compare("computed", &self.trait_key(*i).expect("it stands"), "integer", "greater_than", &n.to_string())
            }
            Clause::Member(i, wanted) => {
                json!({"source": "audience", "key": self.audience_key(*i), "dataType": "boolean", "operator": if *wanted { "true" } else { "false" }})
            }
        }
    }

    pub(crate) fn value(&self, i: usize, person: &Person<'_>, now: Millis) -> Json {
        self.traits[i].as_ref().map_or(Json::Null, |spec| spec.value(person.log, now))
    }

    /// Whether somebody is in each audience.
    pub(crate) fn members(&self, person: &Person<'_>, now: Millis) -> [bool; AUDIENCES] {
        let events = seen(person.log, now);
        let mut found = [false; AUDIENCES];
        for (i, audience) in self.audiences.iter().enumerate() {
            found[i] = audience.as_ref().is_some_and(|audience| self.member(audience, person, &events, &found, now));
        }
        found
    }

    /// Which audiences ask nowhere whether somebody is known.
    pub(crate) fn open(&self) -> [bool; AUDIENCES] {
        let mut open = [false; AUDIENCES];
        for (i, audience) in self.audiences.iter().enumerate() {
            open[i] = audience.as_ref().is_some_and(|audience| {
                let asks = |clause: &&Clause| self.stands(clause) && matches!(clause, Clause::Member(other, _) if !open[*other]);
                audience.anonymous && !audience.clauses.iter().any(|clause| asks(&clause))
            });
        }
        open
    }

    fn member(&self, audience: &Audience, person: &Person<'_>, events: &[Seen], earlier: &[bool], now: Millis) -> bool {
        let holds = |clause: &&Clause| match clause {
            Clause::Favourite(favourite) => person.favourite == Some(*favourite),
            Clause::Above(i, n) => self.value(*i, person, now).as_i64().is_some_and(|have| have > *n),
            Clause::Member(i, wanted) => earlier[*i] == *wanted,
        };
        (person.known || audience.anonymous)
            && audience.clauses.iter().filter(|clause| self.stands(clause)).all(|clause| holds(&clause))
            && match &audience.events {
                Events::Nothing => true,
                Events::Counts(counts) => counts.iter().all(|count| count.holds(events, now.0)),
                Events::Chain(chain) => chain.member(events, now.0),
            }
    }
}

impl Audience {
    /// Everybody for whom this holds.
    pub(crate) fn counting(count: Count) -> Self {
        Self { events: Events::Counts(vec![count]), clauses: Vec::new(), anonymous: true }
    }

    /// What is asked of the events of each step.
    fn conditions(&mut self) -> Vec<&mut Vec<Cond>> {
        match &mut self.events {
            Events::Nothing => Vec::new(),
            Events::Counts(counts) => counts.iter_mut().map(|count| &mut count.what.conditions).collect(),
            Events::Chain(chain) => chain.steps.iter_mut().map(|step| &mut step.what.conditions).collect(),
        }
    }

    fn events(&self) -> Vec<Json> {
        match &self.events {
            Events::Nothing => Vec::new(),
            Events::Counts(counts) => counts.iter().map(Count::json).collect(),
            Events::Chain(chain) => chain.steps.iter().enumerate().map(|(i, step): (usize, &Step)| step.json(i)).collect(),
        }
    }
}

fn audience(i: usize) -> impl Strategy<Value = Audience> {
    let events = prop_oneof![
        3 => prop::collection::vec(count(), 1..3).prop_map(Events::Counts),
        2 => chain().prop_map(Events::Chain).boxed(),
        2 => busy_chain().prop_map(Events::Chain).boxed(),
        1 => Just(Events::Nothing),
    ];
    let mut clauses = vec![
        (2, prop::sample::select(vec!['x', 'y']).prop_map(Clause::Favourite).boxed()),
        (1, (0..TRAITS, 0..3_i64).prop_map(|(i, n)| Clause::Above(i, n)).boxed()),
    ];
    if i > 0 {
        clauses.push((4, (0..i, any::<bool>()).prop_map(|(i, wanted)| Clause::Member(i, wanted)).boxed()));
    }
    let clauses = prop::collection::vec(prop::strategy::Union::new_weighted(clauses), 0..2);
    (events, clauses, prop::bool::weighted(0.8), compared())
        .prop_map(|(events, clauses, anonymous, compared)| {
            let mut audience = Audience { events, clauses, anonymous };
            if let (Some(last), Some(compared)) = (audience.conditions().pop(), compared) {
                last.push(compared);
            }
            audience
        })
        .boxed()
}

/// Sometimes a comparison with a computed trait.
fn compared() -> impl Strategy<Value = Option<Cond>> {
    prop::option::weighted(0.25, (0..TRAITS).prop_map(|place| Cond::AboveComputed(place, String::new())))
}

fn computed() -> impl Strategy<Value = Spec> {
    (spec(), compared()).prop_map(|(mut spec, compared)| {
        spec.conditions.extend(compared);
        spec
    })
}

pub(crate) fn edit() -> impl Strategy<Value = Edit> {
    let traits = (0..TRAITS, prop::option::weighted(0.8, computed())).prop_map(|(i, spec)| Edit::Trait(i, spec));
    let audiences = (0..AUDIENCES)
        .prop_flat_map(|i| prop::option::weighted(0.8, audience(i)).prop_map(move |audience| Edit::Audience(i, audience)));
    prop_oneof![1 => traits.boxed(), 3 => audiences.boxed()].boxed()
}

/// What there is at the beginning.
pub(crate) fn defs() -> impl Strategy<Value = Defs> {
    prop::collection::vec(edit(), 2..7).prop_map(|edits| {
        let mut defs = Defs::default();
        edits.iter().for_each(|edit| defs.edit(edit));
        defs
    })
}
