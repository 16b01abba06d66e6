//! Experiments and the actions that they are about: who is part of what, and what may not change.

use super::apply::Draft;
use super::catalog::{Catalog, Kind};
use super::compile::{Parts, Pointers};
use super::document::{at, issue};
use super::plan::{ActionPlan, ExperimentPlan};
use super::refs::{self, Role, Target};
use super::resolve::Names;
use crate::action::{ActionDef, Trial};
use crate::experiment::ExperimentDef;
use crate::expr::Resolve;
use crate::ids::{ActionSlot, ExperimentSlot, GoalSlot, PathId, TraitSlot};
use crate::issue::Issue;
use serde_json::Value;

/// What an experiment reads, and who looks for it.
pub(super) enum Found {
    /// Conversions of a goal.
    Goal(GoalSlot, ExperimentSlot),
    /// A computed trait that a variant shows.
    Computed(TraitSlot, ActionSlot),
    /// A custom trait that a variant shows.
    Custom(PathId, ActionSlot),
}

/// Two running experiments about one action.
pub(super) struct Contest {
    pub(super) action: ActionSlot,
    pub(super) earlier: ExperimentSlot,
    pub(super) later: ExperimentSlot,
}

fn number(slot: usize) -> u32 {
    u32::try_from(slot).unwrap_or(u32::MAX)
}

/// The experiments that run, with their actions.
fn running<'a>(
    experiments: &'a [Option<ExperimentDef>],
    actions: &'a [Option<ActionDef>],
) -> impl Iterator<Item = (ExperimentSlot, &'a ExperimentDef, Vec<ActionSlot>)> {
    let all = experiments.iter().enumerate().filter_map(|(slot, def)| Some((slot, def.as_ref()?)));
    all.filter(|(_, def)| def.running).map(move |(slot, def)| {
        let about = actions.iter().enumerate().filter_map(|(slot, action)| {
            let slot = ActionSlot(number(slot));
            def.covers(slot, action.as_ref()?).then_some(slot)
        });
        (ExperimentSlot(number(slot)), def, about.collect())
    })
}

/// Everything that experiments make others look at.
pub(super) fn look(parts: &Parts<'_>, f: &mut dyn FnMut(Found)) {
    for (slot, def) in parts.experiments.iter().enumerate().filter_map(|(slot, def)| Some((slot, def.as_ref()?))) {
        f(Found::Goal(def.goal, ExperimentSlot(number(slot))));
    }
    for (slot, _, about) in running(&parts.experiments, &parts.actions) {
        let body = parts.names.catalog.experiments[slot.index()].json();
        for named in refs::list(Kind::Experiment, &body).iter().filter(|named| named.role == Role::Current) {
            for &action in &about {
                match &named.target {
                    Target::Definition(Kind::ComputedTrait) => {
                        if let Some((slot, _)) = parts.names.computed(&named.text) {
                            f(Found::Computed(slot, action));
                        }
                    }
                    Target::Custom => {
                        if let Some(path) = parts.names.custom_path(&named.text) {
                            f(Found::Custom(path.path, action));
                        }
                    }
                    _ => {}
                }
            }
        }
    }
}

/// Tells every action of which running experiment it is part. What it says depends on that, so its
/// deliveries have to be evaluated anew when the experiment changes.
pub(super) fn join(experiments: &[Option<ExperimentPlan>], actions: &mut [Option<ActionPlan>]) {
    for experiment in experiments.iter().flatten().filter(|experiment| experiment.def.running) {
        for action in actions.iter_mut().flatten() {
            if action.def.trial.is_none() && experiment.def.covers(action.slot, &action.def) {
                let own = &action.def.properties;
                action.def.trial = Some(Trial::new(experiment.slot, &experiment.name, &experiment.def, own));
                action.fingerprint ^= experiment.fingerprint.rotate_left(1);
            }
        }
    }
}

/// Actions that two running experiments claim.
pub(super) fn contests(experiments: &[Option<ExperimentDef>], actions: &[Option<ActionDef>]) -> Vec<Contest> {
    let mut owners: Vec<Option<ExperimentSlot>> = vec![None; actions.len()];
    let mut contests = Vec::new();
    for (later, _, about) in running(experiments, actions) {
        for action in about {
            match owners[action.index()] {
                Some(earlier) => contests.push(Contest { action, earlier, later }),
                None => owners[action.index()] = Some(later),
            }
        }
    }
    contests
}

/// Where the document can mend a contest; `None` where it holds neither the experiments nor the action.
pub(super) fn place(contest: &Contest, catalog: &Catalog, names: &Names<'_>, pointers: &Pointers) -> Option<String> {
    for experiment in [contest.later, contest.earlier] {
        let Some(pointer) = pointers.get(&(Kind::Experiment, experiment.index())) else { continue };
        let body = catalog.experiments[experiment.index()].json();
        let listed = body.get("actions").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let named = |name: &Value| name.as_str().and_then(|name| names.action(name)) == Some(contest.action);
        return Some(match listed.iter().position(named) {
            Some(i) => at(&at(pointer, "actions"), i),
            None => at(pointer, "tag"),
        });
    }
    pointers.get(&(Kind::Action, contest.action.index())).map(|pointer| at(pointer, "tags"))
}

impl Contest {
    pub(super) fn issue(&self, catalog: &Catalog) -> Issue {
        let name = |slot: ExperimentSlot| catalog.experiments[slot.index()].name.as_str();
        let message = format!(
            "action {:?} is part of the running experiments {:?} and {:?}: it can be in one",
            catalog.actions[self.action.index()].name,
            name(self.earlier),
            name(self.later),
        );
        issue("/actions", "experiment_conflict", message)
    }
}

impl Draft<'_> {
    /// What is logged names variants by their places, and the hash covers key and salt: neither changes in
    /// the life of an experiment. While it runs, nothing changes that decides who sees what or what counts,
    /// so that nobody moves and no peek is made good afterwards.
    pub(super) fn kept_experiments(&mut self, pointers: &Pointers) {
        for ((_, slot), pointer) in pointers.iter().filter(|((kind, _), _)| *kind == Kind::Experiment) {
            let Some(known) = self.old.experiments.get(*slot).filter(|known| !known.removed) else { continue };
            let (was, is) = (known.json(), self.new.experiments[*slot].json());
            let mut refuse = |field: &str, code, message: String| self.issues.push(issue(at(pointer, field), code, message));
            for field in ["key", "salt"] {
                if text(&was, field) != text(&is, field) {
                    let message = format!("{field} is part of who is in which arm and stays {:?}", text(&was, field));
                    refuse(field, "immutable", message);
                }
            }
            let (before, after) = (variant_keys(&was), variant_keys(&is));
            if !after.starts_with(&before) {
                let message = format!("the log knows the variants {before:?} by their places: others come after them");
                refuse("variants", "immutable", message);
                continue;
            }
            let runs = |body: &Value| text(body, "state") == "running";
            if !(runs(&was) && runs(&is)) {
                continue;
            }
            let (was, is) = (fields(was), fields(is));
            for field in was.keys().chain(is.keys()) {
                let label = matches!(field.as_str(), "name" | "description");
                if !label && was.get(field) != is.get(field) {
                    refuse(
                        field,
                        "experiment_running",
                        format!("{field} cannot change while the experiment runs: stop it first"),
                    );
                }
            }
        }
    }
}

fn text<'v>(body: &'v Value, field: &str) -> &'v str {
    body.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn variant_keys(body: &Value) -> Vec<String> {
    let list = body.get("variants").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    list.iter().map(|variant| text(variant, "key").to_owned()).collect()
}

fn fields(body: Value) -> serde_json::Map<String, Value> {
    match body {
        Value::Object(map) => map,
        _ => serde_json::Map::new(),
    }
}
