//! Why, for one person: audiences, traits and actions taken apart; and what actions would decide (4.6).

use super::Engine;
use super::scan::{Cancel, Taken, TooBusy};
use lodestone_state::action::{Totals, View};
use lodestone_state::event::{EntryKind, Props};
use lodestone_state::explain::{ActionAsked, Case, Evidence, Needs, Overridden, explain_action, explain_audience, explain_trait};
use lodestone_state::ids::{AudienceSlot, ChannelSlot, Millis, ProfileId, TraitSlot};
use lodestone_state::issue::{Issue, pointer_into};
use lodestone_state::machine::{self, ProfileFacts, ProfilePerson};
use lodestone_state::plan::{ActionPlan, Kind, Plan};
use lodestone_state::profile::Profile;
use lodestone_state::replay::{PastTotals, Upto};
use lodestone_state::schema::{DataType, FieldError, UnknownKeys};
use lodestone_state::time::{format_instant, parse_rfc3339};
use lodestone_state::value::Value;
use serde_json::{Map, Value as Json, json};
use std::sync::Arc;

/// Who is asked about.
#[derive(Clone, Debug)]
pub enum Who {
    /// By profile.
    Profile(ProfileId),
    /// By an id of the person.
    User(String),
    /// Somebody who has just come, and of whom nothing is known.
    Nobody,
}

/// What is asked about.
#[derive(Clone, Debug)]
pub enum Asked {
    /// An audience, by id, key or name.
    Audience(String),
    /// A computed trait, by id, key or name.
    Trait(String),
    /// An action, by id or name.
    Action(String),
}

/// Why there is no answer.
#[derive(Clone, Debug)]
pub enum Unanswered {
    /// There is no such thing; the code says of which sort.
    NotFound(&'static str),
    /// What was sent is wrong.
    Invalid(Vec<Issue>),
    /// Too many scans are under way.
    Busy,
    /// The definitions in force have changed under the question.
    Outdated,
}

impl From<TooBusy> for Unanswered {
    fn from(_: TooBusy) -> Self {
        Self::Busy
    }
}

/// Where and when a question is asked.
#[derive(Clone, Debug, Default)]
pub struct Circumstances {
    /// Channel key; the action's first one if absent.
    pub channel: Option<String>,
    /// A past or future moment; now if absent.
    pub at: Option<Millis>,
    /// JSON object text of the connection's context.
    pub context: Option<String>,
}

/// What a simulation is asked (4.6).
#[derive(Clone, Debug, Default)]
pub struct Simulation {
    /// Channel key.
    pub channel: String,
    /// Only this action, by id or name.
    pub action: Option<String>,
    /// Only this action, that nobody saved: a definition as it is sent to be saved. With `action`, in the place of
    /// that one.
    pub draft: Option<Json>,
    /// Custom traits that stand instead of the person's.
    pub custom_traits: Option<Json>,
    /// Computed traits by key that stand instead of the person's; null for absent.
    pub computed_traits: Option<Json>,
    /// The context of the connection.
    pub context: Option<Json>,
    /// A past or future moment; now if absent.
    pub at: Option<Millis>,
}

/// A person as of a moment.
struct Seen {
    taken: Taken,
    at: Millis,
    /// What has to be said about the moment.
    as_of: Json,
    /// What everybody counts live does not answer.
    past: bool,
}

impl Engine {
    /// Takes an audience, trait or action apart for one person.
    ///
    /// # Errors
    /// [`Unanswered`]; a question about the totals of a past moment scans the log and may find others at it.
    pub fn explain(&self, who: &Who, asked: &Asked, how: &Circumstances, cancel: &Cancel) -> Result<Json, Unanswered> {
        let plan = self.plan.load_full();
        let seen = self.person_at(&plan, who, how.at)?;
        let needs = match asked {
            Asked::Audience(key) => Needs::of_audience(&plan, audience(&plan, key)?),
            Asked::Trait(key) => Needs::of_trait(&plan, computed(&plan, key)?),
            Asked::Action(key) => Needs::of_action(&plan, action(&plan, key)?.slot),
        };
        let audiences: Vec<AudienceSlot> = needs.audiences.iter().copied().collect();
        let traits: Vec<TraitSlot> = needs.traits.iter().copied().collect();
        let Taken { profile, entries } = &seen.taken;
        let evidence = Evidence::gather(&plan, profile.core.id, entries, seen.at, &audiences, &traits);
        let case = Case::new(&plan, profile, entries, seen.at, &evidence);
        let mut told = match asked {
            Asked::Audience(key) => explain_audience(&case, audience(&plan, key)?).map(|told| told.json),
            Asked::Trait(key) => explain_trait(&case, computed(&plan, key)?),
            Asked::Action(key) => {
                let action = action(&plan, key)?;
                let channel = match &how.channel {
                    Some(key) => channel(&plan, key)?,
                    None => action.def.channels.first().copied().unwrap_or(ChannelSlot(0)),
                };
                let (context, errors) = context(&plan, channel, how.context.as_deref());
                let past = self.totals_at(&plan, &[action], &seen, cancel)?;
                let totals = past.as_ref().map(|past| past.upto(Upto::Time(seen.at)));
                let asked = ActionAsked {
                    action: action.slot,
                    channel,
                    totals: totals.as_ref().map_or(&self.totals as &dyn Totals, |t| t),
                };
                explain_action(&case.within(Some(&context)), &asked).map(|told| {
                    let mut json = told.json;
                    json["contextErrors"] = errors;
                    json["hooks"] = self.hooks_of(&plan, action.slot);
                    json
                })
            }
        }
        .unwrap_or(Json::Null);
        told["profileId"] = profile.core.id.to_string().into();
        told["at"] = format_instant(seen.at).as_str().into();
        told["asOf"] = seen.as_of;
        Ok(told)
    }

    /// What every action would decide, step by step. Reads only.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub fn simulate(&self, who: &Who, asked: &Simulation, cancel: &Cancel) -> Result<Json, Unanswered> {
        let drafted = asked.draft.as_ref().map(|draft| self.draft(Kind::Action, draft.clone(), asked.action.as_deref()));
        let drafted = drafted.transpose().map_err(|error| error.below("/draft"))?;
        let (plan, slot) = match drafted {
            Some(drafted) => (Arc::new(drafted.plan), Some(drafted.slot)),
            None => (self.plan.load_full(), None),
        };
        let mut seen = self.person_at(&plan, who, asked.at)?;
        if slot.is_some() && !seen.past {
            seen.taken.profile = seen.taken.under(&plan, seen.at);
            // What is counted live may be less than what the draft's caps ask for.
            seen.past = true;
        }
        let channel = channel(&plan, &asked.channel)?;
        let text = asked.context.as_ref().map(ToString::to_string);
        let (context, errors) = context(&plan, channel, text.as_deref());
        let actions: Vec<&ActionPlan> = match (slot, &asked.action) {
            (Some(slot), _) => plan.actions[slot].iter().collect(),
            (None, Some(key)) => vec![action(&plan, key)?],
            (None, None) => plan.actions.iter().flatten().collect(),
        };
        let past = self.totals_at(&plan, &actions, &seen, cancel)?;
        let past = past.as_ref().map(|past| past.upto(Upto::Time(seen.at)));
        let totals = past.as_ref().map_or(&self.totals as &dyn Totals, |totals| totals);
        let person = Overridden {
            person: ProfilePerson(ProfileFacts { context: Some(&context), ..ProfileFacts::of(&plan, &seen.taken.profile) }),
            custom: custom_traits(&plan, asked.custom_traits.as_ref())?,
            computed: computed_traits(&plan, asked.computed_traits.as_ref())?,
        };
        let rows: Vec<Json> = actions
            .iter()
            .map(|action| {
                let view = View { action: action.slot, channel, now: seen.at, person: &person, context: Some(&context), totals };
                let told = action.def.explain(&view);
                let until = told.until.map(format_instant);
                json!({"id": action.id.to_string(), "name": action.name, "display": told.display, "until": until, "steps": told.simulated()})
            })
            .collect();
        let total = rows.len();
        let at = format_instant(seen.at);
        Ok(json!({"at": at, "asOf": seen.as_of, "contextErrors": errors, "data": rows, "nextCursor": null, "total": total}))
    }

    /// A copy of the person as of `at`.
    fn person_at(&self, plan: &Arc<Plan>, who: &Who, at: Option<Millis>) -> Result<Seen, Unanswered> {
        let now = self.clock.now();
        let taken = match who {
            Who::Nobody => {
                let profile = Profile::new(ProfileId(0), at.unwrap_or(now), plan.generation);
                Taken { profile, entries: Vec::new() }
            }
            Who::Profile(id) => self.store.get(*id).and_then(|shared| self.taken(&shared)).ok_or(NO_PROFILE)?,
            Who::User(id) => self.store.find(id).and_then(|shared| self.taken(&shared)).ok_or(NO_PROFILE)?,
        };
        let now = if taken.profile.core.clock == Millis::MIN { now } else { now.max(taken.profile.core.clock) };
        let at = at.unwrap_or(now);
        let nobody = matches!(who, Who::Nobody);
        if at >= now || nobody {
            let mut taken = taken;
            taken.bring_to(plan, at);
            let as_of = json!({"moment": if at > now { "future" } else { "now" }});
            return Ok(Seen { taken, at, as_of, past: false });
        }
        Ok(self.in_the_past(plan, taken, at))
    }

    /// The person as their log up to `at` says, under the definitions of today.
    fn in_the_past(&self, plan: &Plan, taken: Taken, at: Millis) -> Seen {
        let Taken { profile, mut entries } = taken;
        let later: Vec<String> = entries
            .iter()
            .filter(|entry| entry.at > at)
            .filter_map(
                |entry| if let EntryKind::Identified(identified) = &entry.kind { Some(&identified.absorbed) } else { None },
            )
            .flatten()
            .map(|absorbed| absorbed.profile.to_string())
            .collect();
        entries.retain(|entry| entry.at <= at);
        let profile = machine::fold(plan, profile.core.id, &entries, at);
        let as_of = json!({
            "moment": "past",
            "entries": entries.len(),
            // What they did before is a part of this person's log today.
            "mergedSince": later,
            "note": "the log entries that had arrived by then, under the definitions in force today",
        });
        Seen { taken: Taken { profile, entries }, at, as_of, past: true }
    }

    /// What everybody had reacted by a past moment; `None` where the live counts answer.
    fn totals_at(
        &self,
        plan: &Plan,
        actions: &[&ActionPlan],
        seen: &Seen,
        cancel: &Cancel,
    ) -> Result<Option<PastTotals>, Unanswered> {
        if !seen.past || !actions.iter().any(|action| action.def.has_total_caps()) {
            return Ok(None);
        }
        let scan = self.begin_scan(cancel)?;
        let (shared, _) = self.shared_past(&scan, plan, seen.at.plus(1));
        Ok(Some(PastTotals::new(plan, shared.reactions)))
    }
}

const NO_PROFILE: Unanswered = Unanswered::NotFound("profile_not_found");

fn audience(plan: &Plan, key: &str) -> Result<AudienceSlot, Unanswered> {
    plan.catalog.audience_slot(key).ok_or(Unanswered::NotFound("audience_not_found"))
}

fn computed(plan: &Plan, key: &str) -> Result<TraitSlot, Unanswered> {
    plan.catalog.trait_slot(key).ok_or(Unanswered::NotFound("computed_trait_not_found"))
}

pub(super) fn action<'p>(plan: &'p Plan, key: &str) -> Result<&'p ActionPlan, Unanswered> {
    let slot = plan.catalog.action_slot(key);
    slot.and_then(|slot| plan.action_plan(slot)).ok_or(Unanswered::NotFound("action_not_found"))
}

pub(super) fn channel(plan: &Plan, key: &str) -> Result<ChannelSlot, Unanswered> {
    let slot = plan.catalog.channel_slot(key);
    slot.ok_or_else(|| invalid("/channel", "channel_not_found", format!("there is no channel {key:?}")))
}

pub(super) fn invalid(pointer: &str, code: &'static str, message: String) -> Unanswered {
    Unanswered::Invalid(vec![Issue::new(pointer, code, message)])
}

/// The part of a context that fits its definition, which is all that a decision sees, and what does not.
fn context(plan: &Plan, channel: ChannelSlot, text: Option<&str>) -> (Props, Json) {
    let text = text.unwrap_or("");
    let checked = match plan.context_schema(channel) {
        Some(schema) if !text.is_empty() => schema.check(text, &plan.zone, schema.unknown_keys()),
        _ => plan.open_schema().check(text, &plan.zone, UnknownKeys::Open),
    };
    (checked.props, json!(checked.errors))
}

fn custom_traits(plan: &Plan, given: Option<&Json>) -> Result<Props, Unanswered> {
    let Some(given) = given.filter(|given| !given.is_null()) else { return Ok(Props::default()) };
    let text = given.to_string();
    let checked = match plan.custom_schema() {
        Some(schema) => schema.check(&text, &plan.zone, schema.unknown_keys()),
        None => plan.open_schema().check(&text, &plan.zone, UnknownKeys::Open),
    };
    // Only some are given: those that are required may be the person's own.
    let wrong = checked.errors.into_iter().filter(|error| error.rule != "required");
    let issue = |error: FieldError| {
        let pointer = format!("/customTraits{}", pointer_into(Some(given), &error.path));
        Issue::new(pointer, "traits_invalid", error.message)
    };
    let issues: Vec<Issue> = wrong.map(issue).collect();
    if issues.is_empty() { Ok(checked.props) } else { Err(Unanswered::Invalid(issues)) }
}

fn computed_traits(plan: &Plan, given: Option<&Json>) -> Result<Vec<(TraitSlot, Option<Value>)>, Unanswered> {
    let nothing = Map::new();
    let given = match given {
        None | Some(Json::Null) => &nothing,
        Some(Json::Object(map)) => map,
        Some(_) => return Err(invalid("/computedTraits", "definition_invalid", "computedTraits is an object".to_owned())),
    };
    let (mut traits, mut issues) = (Vec::new(), Vec::new());
    for (key, json) in given {
        let Some(slot) = plan.catalog.trait_slot(key) else {
            let message = format!("there is no computed trait {key:?}");
            issues.push(Issue::new(format!("/computedTraits/{key}"), "computed_trait_not_found", message));
            continue;
        };
        let dated = plan.trait_plan(slot).is_some_and(|known| known.def.data_type() == DataType::DateTime);
        let instant = json.as_str().filter(|_| dated).and_then(parse_rfc3339).map(Value::Time);
        traits.push((slot, (!json.is_null()).then(|| instant.unwrap_or_else(|| Value::from_json(json)))));
    }
    if issues.is_empty() { Ok(traits) } else { Err(Unanswered::Invalid(issues)) }
}
