//! An action for one person: the decision step by step, what stands in the way, and what would move it.

use super::Case;
use super::change::{Change, Step, Supposed};
use super::flip::{Flip, Question, Way, all_of, any_of, flip};
use super::ways::{Membership, expr_ways};
use crate::action::{ActionDef, CapState, Explanation, Outcome, Person, Spending, State, TestUser, Totals, View};
use crate::expr::{Facts, Source};
use crate::ids::{ActionSlot, AudienceSlot, ChannelSlot, ExperimentSlot, Millis, ProfileId};
use crate::machine::{ProfileFacts, ProfilePerson};
use crate::value::Value;
use serde_json::{Value as Json, json};
use std::borrow::Cow;

/// An action on one connection.
#[derive(Clone, Copy)]
pub struct ActionAsked<'a> {
    /// Which.
    pub action: ActionSlot,
    /// Where.
    pub channel: ChannelSlot,
    /// What everybody has reacted.
    pub totals: &'a dyn Totals,
}

/// Why a person gets, or does not get, an action.
#[derive(Clone, Debug)]
pub struct ActionTold {
    /// The decision and all its steps.
    pub explanation: Explanation,
    /// What would make it otherwise.
    pub flip: Flip,
    /// The whole answer, for people.
    pub json: Json,
}

/// Takes an action apart for one person; `None` if it is not in force.
#[must_use]
pub fn explain_action(case: &Case<'_>, asked: &ActionAsked<'_>) -> Option<ActionTold> {
    let action = case.plan.action_plan(asked.action)?;
    let explanation = with_view(case, asked, |view| action.def.explain(view));
    let blocked: Vec<&str> = explanation.steps.iter().filter(|step| step.state == Outcome::Fail).map(|step| step.name).collect();
    let question = Shown { asked, def: &action.def, wanted: !explanation.display };
    let flip = flip(case, &question);
    let json = json!({
        "kind": "action",
        "id": action.id.to_string(),
        "name": action.name,
        "channel": case.plan.channel_key(asked.channel),
        "display": explanation.display,
        "until": flip.by_itself().map_or(Json::Null, super::evidence::instant_json),
        "steps": explanation.steps,
        "blockedBy": blocked,
        "flip": flip.to_json(case.plan, case.now, if explanation.display { "hide" } else { "show" }),
    });
    Some(ActionTold { explanation, flip, json })
}

fn with_view<T>(case: &Case<'_>, asked: &ActionAsked<'_>, work: impl FnOnce(&View<'_>) -> T) -> T {
    let person = ProfilePerson(ProfileFacts { context: case.context, ..ProfileFacts::of(case.plan, case.profile) });
    work(&View {
        action: asked.action,
        channel: asked.channel,
        now: case.now,
        person: &person,
        context: case.context,
        totals: asked.totals,
    })
}

/// Whether an action is shown, or not.
struct Shown<'a> {
    asked: &'a ActionAsked<'a>,
    def: &'a ActionDef,
    wanted: bool,
}

impl Question for Shown<'_> {
    fn reached(&self, case: &Case<'_>, supposed: &Supposed) -> bool {
        let changed;
        let def = if supposed.defined.is_empty() {
            self.def
        } else {
            changed = self.as_defined(case, supposed);
            &changed
        };
        with_view(case, self.asked, |view| def.decide(view, false).eligible) == self.wanted
    }

    fn ways(&self, case: &Case<'_>) -> Vec<Way> {
        let now = case.now;
        let told = with_view(case, self.asked, |view| self.def.explain(view));
        if told.steps.iter().any(|step| step.state == Outcome::Skipped) && told.display {
            // A test user who skips targeting: nothing about the person matters.
            return Vec::new();
        }
        let fails = |name: &str| told.steps.iter().any(|step| step.name == name && step.state == Outcome::Fail);
        let mut parts: Vec<Vec<Way>> = Vec::new();
        if self.wanted {
            for (name, what) in [("Action State", "state"), ("Channel", "channel"), ("Test User", "test_user")] {
                if fails(name) {
                    let step = Step { at: now, change: Change::Define { what } };
                    parts.push(vec![Way::now(now, vec![step], 1)]);
                }
            }
            // Only time opens a range, a cap or a budget.
            if fails("Time Range") || fails("Capping") || fails("Budget") {
                return Vec::new();
            }
        }
        parts.extend(self.membership(case));
        let facts = ProfilePerson(ProfileFacts { context: case.context, ..ProfileFacts::of(case.plan, case.profile) });
        for expr in self.def.conditions(self.asked.channel) {
            if expr.eval(&facts, now).holds != self.wanted {
                parts.push(expr_ways(case, expr, &[], self.wanted, 0));
            }
        }
        if self.wanted { all_of(now, parts) } else { any_of(parts) }
    }

    fn deadline(&self, case: &Case<'_>) -> Millis {
        let later = |t: Millis| if t > case.now { t } else { Millis::MAX };
        with_view(case, self.asked, |view| {
            let caps = self.def.caps.iter().map(|cap| later(self.def.cap_stands(cap, view)));
            let next = later(self.def.time.eval(case.now).until).min(later(self.def.decide(view, false).until));
            caps.fold(next, Millis::min)
        })
    }
}

impl Shown<'_> {
    /// Into any of the audiences, or out of all.
    fn membership(&self, case: &Case<'_>) -> Option<Vec<Way>> {
        let audiences: Vec<AudienceSlot> = self.def.audiences.iter().flatten().copied().collect();
        let member = |slot: &AudienceSlot| case.profile.member_since(*slot).is_some();
        let inside = self.def.audiences.is_empty() || audiences.iter().any(member);
        if inside == self.wanted || self.def.audiences.is_empty() {
            return None;
        }
        let ways = |slot: AudienceSlot| Membership { audience: slot, wanted: self.wanted, depth: 1 }.ways(case);
        if self.wanted {
            return Some(any_of(audiences.into_iter().map(ways).collect()));
        }
        Some(all_of(case.now, audiences.into_iter().filter(|slot| member(slot)).map(ways).collect()))
    }

    /// The definition with what would have been changed.
    fn as_defined(&self, case: &Case<'_>, supposed: &Supposed) -> ActionDef {
        let mut def = self.def.clone();
        let channel = self.asked.channel;
        for what in &supposed.defined {
            match *what {
                "state" => def.state = State::Active,
                "channel" => def.channels = def.channels.iter().copied().chain([channel]).collect(),
                _ => {
                    let user_id = case.profile.core.identities.first().map(|identity| identity.user_id.clone());
                    let user =
                        TestUser { user_id: user_id.unwrap_or_default(), channels: Box::new([channel]), skip_targeting: false };
                    def.test_users = def.test_users.iter().cloned().chain([user]).collect();
                }
            }
        }
        def
    }
}

/// Traits given for a simulation, over those of a person.
pub struct Overridden<'a> {
    /// The person.
    pub person: ProfilePerson<'a>,
    /// Custom traits, each over the person's own.
    pub custom: crate::event::Props,
    /// Computed traits; `None` for absent.
    pub computed: Vec<(crate::ids::TraitSlot, Option<Value>)>,
}

impl Facts for Overridden<'_> {
    fn get<'a>(&'a self, source: &Source) -> Option<Cow<'a, Value>> {
        match source {
            Source::Custom(path) => match self.custom.get(path.path) {
                Some(value) => crate::expr::descend(value, &path.rest).map(Cow::Borrowed),
                None => self.person.get(source),
            },
            Source::Computed(slot) => match self.computed.iter().find(|(given, _)| given == slot) {
                Some((_, value)) => value.as_ref().map(Cow::Borrowed),
                None => self.person.get(source),
            },
            other => self.person.get(other),
        }
    }
}

impl Person for Overridden<'_> {
    fn owns(&self, user_id: &str) -> bool {
        self.person.owns(user_id)
    }

    fn member(&self, audience: AudienceSlot) -> bool {
        self.person.member(audience)
    }

    fn caps(&self, action: ActionSlot) -> Option<&CapState> {
        self.person.caps(action)
    }

    fn profile(&self) -> ProfileId {
        self.person.profile()
    }

    fn budgets(&self, action: ActionSlot, f: &mut dyn FnMut(Spending<'_>)) {
        self.person.budgets(action, f);
    }

    fn arm(&self, experiment: ExperimentSlot) -> Option<u16> {
        self.person.arm(experiment)
    }
}

impl Explanation {
    /// The steps in the words of a simulation: `correct` or `error`. What a test user skips is `correct`.
    #[must_use]
    pub fn simulated(&self) -> Json {
        let step = |step: &crate::action::Step| {
            let state = if step.state == Outcome::Fail { "error" } else { "correct" };
            let skipped = if step.state == Outcome::Skipped { "not asked of a test user who skips targeting; " } else { "" };
            json!({"name": step.name, "state": state, "info": format!("{skipped}{}", step.info), "clauses": step.clauses})
        };
        self.steps.iter().map(step).collect::<Vec<_>>().into()
    }
}
