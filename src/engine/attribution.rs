//! What actions are credited with: a goal's conversions, revenue and cost, by action, campaign or channel.
//!
//! Nothing is counted on the way: a report looks at every profile in memory, each under its own lock for a
//! moment, on as many threads as there are cores. So it is exact after late events, merges, erasure and
//! restarts, and costs the event path nothing.

use super::Engine;
use lodestone_state::goal::report::{By, Line, Question, RowId, Rows, Sums, Tally, bucket_of};
use lodestone_state::goal::{Cost, Model};
use lodestone_state::ids::{ActionSlot, ChannelSlot, GoalSlot, Millis};
use lodestone_state::plan::{Kind, Plan};
use lodestone_state::profile::Profile;
use lodestone_state::rollup::bucket::{self, Bucket, Dates, Resolution};
use lodestone_state::rollup::{Filter, Slot, place_of};
use lodestone_state::time::format_instant;
use serde_json::{Map, Value, json};

/// Cells that one answer may have, by rows and buckets.
const CELLS_MAX: usize = 200_000;

/// What is asked of a goal.
#[derive(Clone, Debug)]
pub struct AttributionQuery {
    /// Id, key or name of the goal.
    pub goal: String,
    /// How credit is shared; the goal's own way if none is named.
    pub model: Option<Model>,
    /// What rows stand for.
    pub by: Option<By>,
    /// Local days, both inclusive.
    pub dates: Dates,
    /// How long a bucket is; a day if nothing is said.
    pub resolution: Option<Resolution>,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum NoReport {
    /// No definition of this id, key or name.
    #[error("does not exist")]
    Unknown,
    /// More buckets, or rows times buckets, than an answer may have.
    #[error("more than {0} values: ask for fewer days, longer buckets or another grouping")]
    TooLong(usize),
    /// The store failed; the process is about to say so.
    #[error(transparent)]
    Storage(#[from] crate::storage::Error),
}

impl Engine {
    /// Shows every profile to `look`, on several threads, each with a `T` of its own; `merge` joins them.
    /// Profiles that definitions have changed for since they were last seen are folded anew first.
    pub(super) fn scan<T: Default + Send>(
        &self,
        plan: &Plan,
        look: impl Fn(&mut T, &Profile) + Sync,
        mut merge: impl FnMut(&mut T, T),
    ) -> T {
        let all = self.store.all();
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let part = all.len().div_ceil(threads).max(1);
        let work = |part: &[lodestone_state::store::Shared]| {
            let mut sum = T::default();
            for shared in part {
                let stale = {
                    let profile = shared.lock();
                    let stale = profile.gone.is_none() && profile.core.generation != plan.generation;
                    if profile.gone.is_none() && !stale {
                        look(&mut sum, &profile);
                    }
                    stale
                };
                if stale {
                    self.touch(shared);
                    let profile = shared.lock();
                    if profile.gone.is_none() {
                        look(&mut sum, &profile);
                    }
                }
            }
            sum
        };
        let mut whole = T::default();
        std::thread::scope(|scope| {
            let running: Vec<_> = all.chunks(part).map(|part| scope.spawn(move || work(part))).collect();
            for thread in running {
                match thread.join() {
                    Ok(sum) => merge(&mut whole, sum),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
        });
        whole
    }

    /// Credits, revenue, cost and return of a goal's actions. Blocks: call it off the async tasks.
    ///
    /// # Errors
    /// [`NoReport`].
    pub fn attribution_json(&self, query: &AttributionQuery) -> Result<Value, NoReport> {
        let plan = self.plan.load_full();
        let goal = plan.catalog.goal_slot(&query.goal).and_then(|slot| plan.goal_plan(slot)).ok_or(NoReport::Unknown)?;
        let resolution = query.resolution.unwrap_or(Resolution::Day);
        let dates = query.dates;
        let buckets = bucket::buckets(&plan.zone, dates, resolution).ok_or(NoReport::TooLong(bucket::BUCKETS_MAX))?;
        let campaigns = plan.actions.iter().flatten().map(|action| (action.slot, action.def.campaign.clone()));
        let rows = Rows::new(query.by.unwrap_or(By::Action), campaigns);
        let model = query.model.unwrap_or(goal.def.model);
        let question = Question { def: &goal.def, model, rows: &rows, buckets: &buckets };
        let mut tally = self.tally(&plan, goal.slot, &question);
        self.add_costs(&plan, &question, dates, &mut tally)?;
        if tally.rows.len() * buckets.len() > CELLS_MAX {
            return Err(NoReport::TooLong(CELLS_MAX));
        }
        let show = Show { plan: &plan, question: &question, valued: goal.def.value != lodestone_state::goal::GoalValue::None };
        let data: Vec<Value> = tally.rows.iter().map(|(row, line)| show.row(*row, line)).collect();
        let total = data.len();
        Ok(json!({
            "goal": {
                "id": goal.id.to_string(), "key": goal.key.as_str(), "name": goal.name.as_str(),
                "currency": goal.def.currency.as_deref(), "model": goal.def.model.word(),
                "lookbackMs": goal.def.lookback_ms,
            },
            "model": model.word(),
            "groupBy": rows.by().word(),
            "resolution": resolution.word(),
            "timezone": plan.zone.name(),
            "start": dates.start.to_string(),
            "end": dates.end.to_string(),
            "buckets": buckets.iter().map(|bucket| json!({"bucket": bucket.label.as_str(), "start": bucket::local_text(bucket.start, &plan.zone), "end": bucket::local_text(bucket.end, &plan.zone)})).collect::<Vec<_>>(),
            "summary": show.line(&tally.all),
            "unattributed": show.line(&tally.unattributed),
            "notKept": {"touches": tally.dropped.0, "conversions": tally.dropped.1},
            "data": data,
            "nextCursor": null,
            "total": total,
        }))
    }

    fn tally(&self, plan: &Plan, goal: GoalSlot, question: &Question<'_>) -> Tally {
        self.scan(
            plan,
            |tally: &mut Tally, profile| {
                if let Some(state) = profile.core.goals.get(goal.0) {
                    tally.add(question, state);
                }
            },
            |whole, part| whole.merge(&part),
        )
    }

    /// Adds what the goal's actions cost, by the counters of reactions.
    fn add_costs(&self, plan: &Plan, question: &Question<'_>, dates: Dates, tally: &mut Tally) -> Result<(), NoReport> {
        let (from, to) = bucket::slots(&plan.zone, dates);
        let places = [lodestone_state::event::Reaction::Delivered, lodestone_state::event::Reaction::Accepted].map(place_of);
        let [Some(delivered), Some(accepted)] = places else { return Ok(()) };
        let mut costs: Vec<(ActionSlot, &Cost)> = Vec::new();
        for action in plan.actions.iter().flatten() {
            let Some(cost) = &action.def.cost else { continue };
            costs.push((action.slot, cost));
            for channel in plan.channels.iter().flatten().map(|channel| channel.slot) {
                if !question.def.takes(action.slot, channel) {
                    continue;
                }
                let filter = Filter { from, to, action: Some(action.slot), channel: Some(channel) };
                for (slot, counts) in self.reactions_by_slot(&filter)? {
                    let both = (counts[delivered], counts[accepted]);
                    if let Some(at) = spent_in(question.buckets, slot, both) {
                        tally.spend(question, action.slot, channel, at, cost, both);
                    }
                }
            }
        }
        tally.charge_fixed(question, costs.into_iter());
        Ok(())
    }
}

/// The bucket of a slot in which anything was delivered or accepted.
fn spent_in(buckets: &[Bucket], slot: Slot, counts: (i64, i64)) -> Option<usize> {
    if counts == (0, 0) { None } else { bucket_of(buckets, slot.start()) }
}

/// Millionths as a number. Exact to the last of six decimals below nine thousand million.
#[expect(clippy::cast_precision_loss, reason = "a JSON number is a double")]
pub(super) fn decimal(micros: i128) -> Value {
    json!(micros as f64 / 1e6)
}

/// How sums are told.
struct Show<'a> {
    plan: &'a Plan,
    question: &'a Question<'a>,
    /// Whether a conversion is worth anything: else there is no revenue and no return.
    valued: bool,
}

impl Show<'_> {
    fn row(&self, row: RowId, line: &Line) -> Value {
        let mut told = self.line(line);
        let name = match self.question.rows.by() {
            By::Action => action_json(self.plan, ActionSlot(row)),
            By::Campaign => json!(self.question.rows.campaign(row)),
            By::Channel => json!(u16::try_from(row).map_or("", |slot| self.plan.channel_key(ChannelSlot(slot)))),
        };
        if let Value::Object(map) = &mut told {
            map.insert(self.question.rows.by().word().into(), name);
        }
        told
    }

    fn line(&self, line: &Line) -> Value {
        let mut told = self.sums(&line.all);
        let empty = Sums::default();
        let buckets =
            (0..self.question.buckets.len()).map(|at| Value::Object(self.sums(line.buckets.get(&at).unwrap_or(&empty))));
        let others =
            line.other_costs.iter().map(|(currency, cost)| json!({"currency": currency.as_deref(), "cost": decimal(*cost)}));
        told.insert("otherCosts".into(), others.collect());
        told.insert("buckets".into(), buckets.collect());
        Value::Object(told)
    }

    fn sums(&self, sums: &Sums) -> Map<String, Value> {
        let mut map = Map::new();
        let mut put = |name: &str, value: Value| drop(map.insert(name.into(), value));
        put("conversions", sums.conversions.into());
        put("creditedConversions", decimal(sums.credited));
        put("revenue", if self.valued { decimal(sums.revenue) } else { Value::Null });
        put("cost", decimal(sums.cost));
        put("roi", sums.roi().filter(|_| self.valued).map_or(Value::Null, |roi| decimal(roi * 100)));
        put("touchedProfiles", sums.touched.into());
        put("conversionRate", sums.rate().map_or(Value::Null, decimal));
        map
    }
}

/// An action, also one that was deleted since.
fn action_json(plan: &Plan, slot: ActionSlot) -> Value {
    let known = plan.catalog.definitions(Kind::Action).get(slot.index());
    let campaign = plan.action_plan(slot).and_then(|action| action.def.campaign.as_deref());
    json!({
        "id": known.map(|known| known.id.to_string()),
        "name": known.map(|known| known.name.as_str()),
        "campaign": campaign,
        "removed": plan.action_plan(slot).is_none(),
    })
}

/// The last touches that a profile shows, by `attribution.<goal>`: absent from the very millisecond at which a
/// conversion would not see them any more.
pub(super) fn exposed(plan: &Plan, profile: &Profile, now: Millis) -> Vec<(String, Value)> {
    let shown = plan.goals.iter().flatten().filter(|goal| goal.def.expose);
    let told = shown.filter_map(|goal| {
        let touch = profile.core.goals.get(goal.slot.0)?.last_touch(&goal.def, now)?;
        let mut value = action_json(plan, touch.action);
        value["channel"] = plan.channel_key(touch.channel).into();
        value["touchedAt"] = format_instant(touch.moment.t).as_str().into();
        value["expiresAt"] = format_instant(goal.def.expires(touch.moment.t)).as_str().into();
        Some((format!("attribution.{}", goal.key), value))
    });
    told.collect()
}
