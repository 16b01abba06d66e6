//! From the catalog to the parts of a plan, with every problem put where the document can mend it.

use super::catalog::{Catalog, Kind};
use super::circle;
use super::document::{issue, tidy};
use super::lookup::Finders;
use super::refs::{self, Target};
use super::resolve::{Names, check_paths};
use super::trials;
use crate::action::{ActionDef, ActionType, BudgetDef};
use crate::audience::AudienceDef;
use crate::experiment::ExperimentDef;
use crate::goal::GoalDef;
use crate::issue::Issue;
use crate::paths::PathTable;
use crate::rule::RuleDef;
use crate::time::Zone;
use crate::traits::TraitDef;
use serde_json::Value;
use std::collections::BTreeMap;

/// Where the definitions of a document stand in it.
pub(super) type Pointers = BTreeMap<(Kind, usize), String>;

/// Compiles all definitions in force.
pub(super) struct Compiler<'a> {
    catalog: &'a Catalog,
    pointers: &'a Pointers,
    paths: PathTable,
    zone: Zone,
    issues: Vec<Issue>,
    /// Problems of definitions that the document does not hold: something in it broke them.
    collateral: Vec<(Kind, usize, Issue)>,
    /// Whether names that lead nowhere are problems.
    typos: bool,
}

/// What comes out, by slot, with nothing in the place of what was removed or does not compile.
pub(super) struct Parts<'a> {
    pub(super) names: Names<'a>,
    pub(super) traits: Vec<Option<TraitDef>>,
    pub(super) audiences: Vec<Option<AudienceDef>>,
    pub(super) actions: Vec<Option<ActionDef>>,
    pub(super) rules: Vec<Option<RuleDef>>,
    pub(super) goals: Vec<Option<GoalDef>>,
    pub(super) budgets: Vec<Option<BudgetDef>>,
    pub(super) experiments: Vec<Option<ExperimentDef>>,
}

impl<'a> Compiler<'a> {
    pub(super) fn new(catalog: &'a Catalog, pointers: &'a Pointers, typos: bool) -> Self {
        Self {
            catalog,
            pointers,
            paths: catalog.paths.clone(),
            zone: Zone::parse(&catalog.organization.timezone).unwrap_or_else(|_| Zone::utc()),
            issues: Vec::new(),
            collateral: Vec::new(),
            typos,
        }
    }

    pub(super) fn run(&mut self) -> Parts<'a> {
        let (pointers, issues, collateral) = (self.pointers, &mut self.issues, &mut self.collateral);
        let mut refuse = |kind: Kind, slot: usize, mut one: Issue| match pointers.get(&(kind, slot)) {
            Some(pointer) => {
                one.pointer.insert_str(0, pointer);
                issues.push(one);
            }
            None => collateral.push((kind, slot, one)),
        };
        let names = Names::new(self.catalog, &mut self.paths, &mut refuse);
        let zone = self.zone.clone();
        let traits = self
            .each(Kind::ComputedTrait, &names, |body, pointer, issues| TraitDef::compile(body, &names, &zone, pointer, issues));
        let audiences =
            self.each(Kind::Audience, &names, |body, pointer, issues| AudienceDef::compile(body, &names, &zone, pointer, issues));
        let types =
            self.each(Kind::ActionType, &names, |body, pointer, issues| ActionType::compile(body, &names, pointer, issues));
        let none = ActionType::default();
        let actions = self.each(Kind::Action, &names, |body, pointer, issues| {
            let named = body.get("type").and_then(Value::as_str).unwrap_or_default();
            if named.is_empty() {
                issues.push(issue(format!("{pointer}/type"), crate::issue::DEFINITION_INVALID, "type is required"));
            }
            let kind = names.finders.seek_any(Kind::ActionType, named).and_then(|slot| types[slot].as_ref());
            ActionDef::compile(body, kind.unwrap_or(&none), &names, &zone, pointer, issues)
        });
        let rules = self.each(Kind::Rule, &names, |body, pointer, issues| RuleDef::compile(body, &names, &zone, pointer, issues));
        let goals = self.each(Kind::Goal, &names, |body, pointer, issues| GoalDef::compile(body, &names, &zone, pointer, issues));
        let budgets =
            self.each(Kind::Budget, &names, |body, pointer, issues| BudgetDef::compile(body, &names, &zone, pointer, issues));
        let experiments = self
            .each(Kind::Experiment, &names, |body, pointer, issues| ExperimentDef::compile(body, &names, &zone, pointer, issues));
        self.circles();
        self.contests(&names, &actions, &experiments);
        Parts { names, traits, audiences, actions, rules, goals, budgets, experiments }
    }

    /// Audiences that read each other in a circle could never be decided.
    fn circles(&mut self) {
        for (slot, message) in circle::audiences(self.catalog) {
            let one = issue("/traits", "audience_circle", message);
            match self.pointers.get(&(Kind::Audience, slot)) {
                Some(pointer) => self.issues.push(Issue { pointer: format!("{pointer}{}", one.pointer), ..one }),
                None => self.collateral.push((Kind::Audience, slot, one)),
            }
        }
    }

    /// An action takes part in one running experiment: two would each change what the other measures.
    fn contests(&mut self, names: &Names<'_>, actions: &[Option<ActionDef>], experiments: &[Option<ExperimentDef>]) {
        for contest in trials::contests(experiments, actions) {
            let place = trials::place(&contest, self.catalog, names, self.pointers);
            let one = contest.issue(self.catalog);
            match place {
                Some(pointer) => self.issues.push(Issue { pointer, ..one }),
                None => self.collateral.push((Kind::Experiment, contest.later.index(), one)),
            }
        }
    }

    fn each<T>(
        &mut self,
        kind: Kind,
        names: &Names<'_>,
        compile: impl Fn(&Value, &str, &mut Vec<Issue>) -> Option<T>,
    ) -> Vec<Option<T>> {
        let mut compiled = Vec::new();
        for (slot, definition) in self.catalog.definitions(kind).iter().enumerate() {
            // Archived versions of action types serve on.
            if definition.removed && kind != Kind::ActionType {
                compiled.push(None);
                continue;
            }
            let mut body = definition.json();
            if kind == Kind::ActionType {
                body["version"] = definition.key.parse::<u32>().unwrap_or(1).into();
            }
            let place = self.pointers.get(&(kind, slot));
            let pointer = place.map_or("", String::as_str);
            let mut found = Vec::new();
            if self.typos {
                check_paths(names, kind, &body, pointer, &mut found);
            }
            compiled.push(compile(&body, pointer, &mut found));
            match place {
                Some(_) => self.issues.extend(found),
                None => self.collateral.extend(found.into_iter().map(|one| (kind, slot, one))),
            }
        }
        compiled
    }

    /// The path table as the definitions need it, and all problems. What was wrong in `old` already
    /// is not held against the document.
    pub(super) fn finish(self, old: &Catalog) -> (PathTable, Vec<Issue>) {
        let Self { catalog, pointers, paths, mut issues, collateral, .. } = self;
        if !collateral.is_empty() {
            let finders = Finders::new(catalog);
            let none = Pointers::new();
            let mut before = Compiler::new(old, &none, true);
            before.run();
            for (kind, slot, one) in collateral {
                let same = |(k, s, other): &(Kind, usize, Issue)| (*k, *s) == (kind, slot) && *other == one;
                if !before.collateral.iter().any(same) {
                    issues.push(broken(catalog, &finders, pointers, kind, slot, &one));
                }
            }
        }
        (paths, issues)
    }
}

/// Tells the part of the document that broke a definition outside of it what it broke.
fn broken(catalog: &Catalog, finders: &Finders<'_>, pointers: &Pointers, kind: Kind, slot: usize, one: &Issue) -> Issue {
    let definition = &catalog.definitions(kind)[slot];
    let culprit = refs::list(kind, &definition.json()).into_iter().find_map(|named| {
        let (kind, slot) = match &named.target {
            Target::Definition(kind) => (*kind, finders.seek_any(*kind, &named.text)?),
            Target::Property(event) => (Kind::Event, finders.seek_any(Kind::Event, event)?),
            Target::Context(channel) => (Kind::Context, finders.seek_any(Kind::Context, channel)?),
            Target::Custom => (Kind::CustomTraits, 0),
        };
        pointers.get(&(kind, slot))
    });
    let message = format!("{kind} {:?} would break at {}: {}", definition.name, one.pointer, one.message);
    issue(culprit.map_or("", String::as_str), "definition_in_use", message)
}

/// Compiles a stored catalog for a plan.
pub(super) fn stored<'a>(catalog: &'a Catalog, pointers: &'a Pointers) -> Result<(Parts<'a>, PathTable, Zone), Vec<Issue>> {
    let mut compiler = Compiler::new(catalog, pointers, false);
    let parts = compiler.run();
    let Compiler { paths, zone, mut issues, collateral, .. } = compiler;
    issues.extend(collateral.into_iter().map(|(_, _, one)| one));
    if issues.is_empty() { Ok((parts, paths, zone)) } else { Err(tidy(issues)) }
}
