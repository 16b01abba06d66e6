//! `/api/v1/analysis`: reactions, rates, reach and the dashboard, by local buckets; and what is new, live.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream;
use jiff::ToSpan;
use lodestone_state::action::reaction_word;
use lodestone_state::ids::{ChannelSlot, DefId, Millis};
use lodestone_state::plan::Plan;
use lodestone_state::rollup::bucket::{self, Bucket, Cyclic, Dates, Resolution, local_text};
use lodestone_state::rollup::{Counts, Filter, Live, REACTIONS, SLOTS, Series, Slot, place_of};
use lodestone_state::time::{Date, Zone, format_instant, parse_date};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Answer, Shared, admin, json_response, off_task, parsed};
use crate::engine::analysis::Reached;
use crate::net::problem::Problem;
use crate::storage;

/// Days of a question that names no range.
const DAYS: i32 = 30;
/// Days of the longest range.
const DAYS_MAX: i32 = 3_700;
/// Views that are followed live at one time.
const LIVE_MAX: usize = 64;
/// The shortest time between two differences.
const PACE: Duration = Duration::from_secs(1);
/// How often a silent stream says that it is there.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Slots of one bucket of the dashboard: three hours.
const DASHBOARD_SLOTS: i32 = 12;

pub(super) fn routes() -> Router<Arc<Shared>> {
    let seats = Arc::new(Semaphore::new(LIVE_MAX));
    Router::new()
        .route("/api/v1/analysis/events", get(events))
        .route("/api/v1/analysis/rates", get(rates))
        .route("/api/v1/analysis/reach", get(reach))
        .route("/api/v1/analysis/dashboard", get(dashboard))
        .route("/api/v1/analysis/live", get(move |state, headers| live(state, headers, seats)))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Asked {
    action_id: Option<String>,
    channel: Option<String>,
    start: Option<String>,
    end: Option<String>,
    resolution: Option<String>,
    cyclic: Option<String>,
}

/// A question that makes sense.
struct Question {
    zone: Zone,
    filter: Filter,
    dates: Dates,
    parts: Parts,
}

/// What a range is divided into.
enum Parts {
    Real(Resolution, Vec<Bucket>),
    Cyclic(Cyclic),
}

pub(super) fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid_query", detail)
}

impl Question {
    fn of(asked: &Asked, plan: &Plan, now: Millis) -> Result<Self, Problem> {
        let given = |value: &Option<String>| value.clone().filter(|text| !text.is_empty());
        let zone = plan.zone.clone();
        let action = given(&asked.action_id)
            .map(|id| {
                let found = id.parse::<DefId>().ok().and_then(|id| plan.action_by_id(id));
                found.map(|action| action.slot).ok_or_else(|| Problem::not_found("action_not_found", "the action"))
            })
            .transpose()?;
        let channel = given(&asked.channel)
            .map(|key| plan.channel_by_key(&key).map(|channel| channel.slot))
            .map(|found| found.ok_or_else(|| Problem::not_found("channel_not_found", "the channel")))
            .transpose()?;
        let dates = dates(given(&asked.start), given(&asked.end), zone.date(now))?;
        let parts = match (given(&asked.resolution), given(&asked.cyclic)) {
            (Some(_), Some(_)) => return Err(bad("resolution and cyclic exclude each other")),
            (None, Some(word)) => {
                Parts::Cyclic(Cyclic::parse(&word).ok_or_else(|| bad("cyclic must be weekday or hour_of_day"))?)
            }
            (word, None) => {
                let resolution = Resolution::parse(word.as_deref().unwrap_or("day"))
                    .ok_or_else(|| bad("resolution must be hour, day, week, month or year"))?;
                let buckets = bucket::buckets(&zone, dates, resolution)
                    .ok_or_else(|| bad(format!("more than {} buckets; ask for a coarser resolution", bucket::BUCKETS_MAX)))?;
                Parts::Real(resolution, buckets)
            }
        };
        let (from, to) = bucket::slots(&zone, dates);
        Ok(Self { zone, filter: Filter { from, to, action, channel }, dates, parts })
    }

    /// The counts of each part, beside what names it.
    fn parts(&self, series: &Series) -> Vec<(Map<String, Value>, Counts)> {
        match &self.parts {
            Parts::Real(_, buckets) => {
                let sums = bucket::sums(buckets, series);
                buckets.iter().map(|bucket| bucket_json(bucket, &self.zone)).zip(sums).collect()
            }
            Parts::Cyclic(cyclic) => {
                let named = cyclic.labels().into_iter().map(|label| Map::from_iter([("bucket".into(), label.into())]));
                named.zip(bucket::cyclic_sums(&self.zone, *cyclic, series)).collect()
            }
        }
    }

    /// The answer: the rows, and what was asked.
    fn answer(&self, rows: Vec<Value>, more: impl IntoIterator<Item = (&'static str, Value)>) -> Response {
        let total = rows.len();
        let mut answer = Map::from_iter([
            ("data".to_owned(), rows.into()),
            ("nextCursor".into(), Value::Null),
            ("total".into(), total.into()),
        ]);
        answer.insert("start".into(), self.dates.start.to_string().into());
        answer.insert("end".into(), self.dates.end.to_string().into());
        answer.insert("timezone".into(), self.zone.name().into());
        let (name, word) = match &self.parts {
            Parts::Real(resolution, _) => ("resolution", resolution.word()),
            Parts::Cyclic(cyclic) => ("cyclic", cyclic.word()),
        };
        answer.insert(name.into(), word.into());
        answer.extend(more.into_iter().map(|(name, value)| (name.to_owned(), value)));
        json_response(StatusCode::OK, &Value::Object(answer))
    }
}

/// Both inclusive; what is left out makes it the last [`DAYS`] days up to today or to `end`.
pub(super) fn dates(start: Option<String>, end: Option<String>, today: Date) -> Result<Dates, Problem> {
    let read = |name: &str, text: String| parse_date(&text).ok_or_else(|| bad(format!("{name} must be a date YYYY-MM-DD")));
    let start = start.map(|text| read("start", text)).transpose()?;
    let end = end.map(|text| read("end", text)).transpose()?.unwrap_or(today);
    let start = start.unwrap_or_else(|| back(end, DAYS - 1));
    if start > end {
        return Err(bad("start lies after end"));
    }
    if back(end, DAYS_MAX) > start {
        return Err(bad(format!("more than {DAYS_MAX} days")));
    }
    Ok(Dates { start, end })
}

fn back(date: Date, days: i32) -> Date {
    date.checked_sub(days.days()).unwrap_or(Date::MIN)
}

fn bucket_json(bucket: &Bucket, zone: &Zone) -> Map<String, Value> {
    Map::from_iter([
        ("bucket".to_owned(), bucket.label.clone().into()),
        ("start".to_owned(), local_text(bucket.start, zone).into()),
        ("end".to_owned(), local_text(bucket.end, zone).into()),
    ])
}

fn counts_json(counts: &Counts) -> Map<String, Value> {
    REACTIONS.iter().zip(counts).map(|(reaction, count)| (reaction_word(*reaction).to_owned(), json!(count))).collect()
}

fn sum(series: &Series) -> Counts {
    let mut all = Counts::default();
    series.values().for_each(|counts| all.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count));
    all
}

/// Each rate is a part of what had to come before it; of nothing there is none (T-84).
fn rates_json(counts: &Counts) -> Value {
    use lodestone_state::event::Reaction::{Accepted, Declined, Delivered, Hidden, Shown};
    let count = |reaction| place_of(reaction).map_or(0, |place| counts[place]);
    let rate = |part, of| {
        let (part, of) = (count(part), count(of));
        if of == 0 { Value::Null } else { json!(part as f64 / of as f64) }
    };
    json!({
        "shown": rate(Shown, Delivered),
        "hidden": rate(Hidden, Shown),
        "declined": rate(Declined, Shown),
        "accepted": rate(Accepted, Shown),
    })
}

type Asking = Result<Query<Asked>, QueryRejection>;

fn question(shared: &Shared, headers: &HeaderMap, query: Asking) -> Result<Question, Problem> {
    admin(shared, headers)?;
    Question::of(&parsed(query)?, &shared.engine.plan(), shared.engine.now())
}

fn fault(error: storage::Error) -> Problem {
    tracing::error!(%error, "the analysis cannot be read");
    Problem::internal()
}

async fn series(shared: &Shared, filter: Filter) -> Result<Series, Problem> {
    off_task(shared, move |engine| engine.reactions_by_slot(&filter)).await?.map_err(fault)
}

async fn events(State(shared): State<Arc<Shared>>, headers: HeaderMap, query: Asking) -> Answer {
    let question = question(&shared, &headers, query)?;
    let series = series(&shared, question.filter).await?;
    let row = |(mut row, counts): (Map<String, Value>, Counts)| {
        row.extend(counts_json(&counts));
        row.insert("total".into(), counts.iter().sum::<i64>().into());
        Value::Object(row)
    };
    let rows = question.parts(&series).into_iter().map(row).collect();
    let all = sum(&series);
    let mut totals = counts_json(&all);
    totals.insert("total".into(), all.iter().sum::<i64>().into());
    Ok(question.answer(rows, [("totals", Value::Object(totals))]))
}

async fn rates(State(shared): State<Arc<Shared>>, headers: HeaderMap, query: Asking) -> Answer {
    let question = question(&shared, &headers, query)?;
    let series = series(&shared, question.filter).await?;
    let full = |mut row: Map<String, Value>, counts: &Counts| {
        row.extend(counts_json(counts));
        row.insert("rates".into(), rates_json(counts));
        Value::Object(row)
    };
    let rows = question.parts(&series).into_iter().map(|(row, counts)| full(row, &counts)).collect();
    Ok(question.answer(rows, [("totals", full(Map::new(), &sum(&series)))]))
}

async fn reach(State(shared): State<Arc<Shared>>, headers: HeaderMap, query: Asking) -> Answer {
    let question = question(&shared, &headers, query)?;
    let Parts::Real(_, buckets) = &question.parts else {
        return Err(bad("reach has no cyclic parts: who was reached on two Mondays was reached once"));
    };
    let (filter, spans) = (question.filter, buckets.clone());
    let found = off_task(&shared, move |engine| engine.reach(&filter, &spans)).await?.map_err(fault)?;
    let plan = shared.engine.plan();
    let reached = |mut row: Map<String, Value>, reached: &Reached| {
        row.insert("total".into(), reached.total.into());
        row.insert("unique".into(), reached.unique.into());
        row.insert("approximate".into(), reached.approximate.into());
        Value::Object(row)
    };
    let name = |channel: ChannelSlot| Map::from_iter([("channel".to_owned(), plan.channel_key(channel).into())]);
    let rows = found.channels.iter().map(|(channel, counts)| reached(name(*channel), counts)).collect();
    let by_bucket: Vec<Value> =
        buckets.iter().zip(&found.buckets).map(|(bucket, counts)| reached(bucket_json(bucket, &question.zone), counts)).collect();
    Ok(question.answer(rows, [("all", reached(Map::new(), &found.all)), ("buckets", by_bucket.into())]))
}

async fn dashboard(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Answer {
    admin(&shared, &headers)?;
    let plan = shared.engine.plan();
    // Whole slots: the last one is the one we are in.
    let to = Slot(Slot::of(shared.engine.now()).0 + 1);
    let from = Slot(to.0 - SLOTS);
    let found = off_task(&shared, move |engine| -> Result<_, storage::Error> {
        let filter = Filter { from, to, action: None, channel: None };
        let series = engine.reactions_by_slot(&filter)?;
        Ok((series, engine.events_by_slot(from, to)?, engine.profiles_by_slot(from, to), engine.sizes()))
    });
    let (series, events, profiles, (people, active)) = found.await?.map_err(fault)?;
    let rows = |count: &dyn Fn(std::ops::Range<Slot>) -> Map<String, Value>| -> Vec<Value> {
        (from.0..to.0)
            .step_by(DASHBOARD_SLOTS as usize)
            .map(|first| {
                let span = Slot(first)..Slot(first + DASHBOARD_SLOTS);
                let mut row = count(span.clone());
                row.insert("start".into(), local_text(span.start.start(), &plan.zone).into());
                row.insert("end".into(), local_text(span.end.start(), &plan.zone).into());
                Value::Object(row)
            })
            .collect()
    };
    let one = |count: i64| Map::from_iter([("count".to_owned(), count.into())]);
    let reactions = rows(&|span| {
        let counts = sum(&series.range(span).map(|(slot, counts)| (*slot, *counts)).collect());
        let mut row = counts_json(&counts);
        row.insert("count".into(), counts.iter().sum::<i64>().into());
        row
    });
    let answer = json!({
        "start": local_text(from.start(), &plan.zone),
        "end": local_text(to.start(), &plan.zone),
        "timezone": plan.zone.name(),
        "reactions": reactions,
        "events": rows(&|span| one(events.range(span).map(|(_, count)| count).sum())),
        "profiles": rows(&|span| one(profiles.range(span).map(|(_, count)| count).sum())),
        "totals": {
            "reactions": counts_json(&sum(&series)),
            "events": events.values().sum::<i64>(),
            "newProfiles": profiles.values().sum::<i64>(),
            "profiles": people,
            "activeActions": active,
        },
    });
    Ok(json_response(StatusCode::OK, &answer))
}

/// A view that follows: its seat, and what it knows.
struct Follower {
    shared: Arc<Shared>,
    headers: HeaderMap,
    known: Live,
    pace: tokio::time::Interval,
    control: tokio::sync::watch::Receiver<crate::net::Control>,
    _seat: OwnedSemaphorePermit,
}

async fn live(State(shared): State<Arc<Shared>>, headers: HeaderMap, seats: Arc<Semaphore>) -> Answer {
    admin(&shared, &headers)?;
    let full = || Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "too many views are followed live");
    let seat = seats.try_acquire_owned().map_err(|_| full())?;
    let mut pace = tokio::time::interval_at(tokio::time::Instant::now() + PACE, PACE);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let follower =
        Follower { known: shared.engine.counted(), control: shared.control.clone(), shared, headers, pace, _seat: seat };
    // Told at once that it follows, so that what it reads next cannot fall between.
    let ready = stream::once(async { Ok::<_, Infallible>(Event::default().event("ready").data("{}")) });
    let differences = stream::unfold(follower, |mut follower| async {
        let difference = follower.next().await?;
        Some((Ok(Event::default().event("delta").data(difference.to_string())), follower))
    });
    let stream = futures_util::StreamExt::chain(ready, differences);
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response())
}

impl Follower {
    /// The next difference; `None` when the server stops or the token is no more.
    async fn next(&mut self) -> Option<Value> {
        loop {
            tokio::select! {
                _ = self.pace.tick() => {}
                _ = self.control.wait_for(|control| control.draining) => return None,
            }
            if admin(&self.shared, &self.headers).is_err() {
                return None;
            }
            let counted = self.shared.engine.counted();
            if counted != self.known {
                let known = std::mem::replace(&mut self.known, counted);
                return Some(difference(&self.shared.engine.plan(), self.shared.engine.now(), &known, &self.known));
            }
        }
    }
}

fn difference(plan: &Plan, now: Millis, known: &Live, counted: &Live) -> Value {
    let more = |place, count: &u64| count - known.reactions.get(place).unwrap_or(&0);
    let reactions: Vec<Value> = counted
        .reactions
        .iter()
        .map(|(place, count)| (place, more(place, count)))
        .filter(|(_, count)| *count > 0)
        .map(|((action, channel, reaction), count)| {
            json!({
                "actionId": plan.action_plan(*action).map(|action| action.id.to_string()),
                "channel": plan.channel_key(*channel),
                "event": reaction_word(*reaction),
                "count": count,
            })
        })
        .collect();
    json!({
        "at": format_instant(now),
        "events": counted.events - known.events,
        "reactions": reactions,
        "erased": counted.erased - known.erased,
    })
}
