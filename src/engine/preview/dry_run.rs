//! What an audience that nobody has saved would have done over the last days: who would have entered and left,
//! and when.

use super::share::Share;
use super::user_ids;
use crate::engine::Engine;
use crate::engine::draft::Drafted;
use crate::engine::explain::{Unanswered, invalid};
use crate::engine::scan::Cancel;
use lodestone_state::event::MembershipChange;
use lodestone_state::explain::{Needs, lookback, narrow};
use lodestone_state::ids::{AudienceSlot, Millis, ProfileId};
use lodestone_state::machine;
use lodestone_state::plan::Kind;
use lodestone_state::store::Shared;
use lodestone_state::time::{Date, Zone, format_instant};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::time::Instant;

/// Local days of one dry run at the most.
pub const DAYS_MAX: u32 = 400;

/// Which days, and which page of the moments.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// The last so many local days, today included, where `from` is absent.
    pub days: u32,
    /// From here on.
    pub from: Option<Millis>,
    /// Before here; up to now if absent or later.
    pub to: Option<Millis>,
    /// Moments of one page.
    pub limit: usize,
    /// The last moment of the page before.
    pub after: Option<Place>,
}

/// Where a moment is in the order of all: its time, whose it is, and which of theirs.
pub type Place = (Millis, ProfileId, usize);

impl Engine {
    /// Folds everybody's log under the audience that `definition` describes and tells who would have come and
    /// gone, day by day and one by one, had it been in force from the start and had every entry come in order.
    /// Looks at profiles in an order of chance; what there was no time for is estimated.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub fn dry_run(&self, definition: Json, span: &Span, cancel: &Cancel) -> Result<Json, Unanswered> {
        let began = Instant::now();
        let now = self.clock.now();
        let Drafted { base, mut plan, slot, .. } =
            self.draft(Kind::Audience, definition, None).map_err(|error| error.below("/definition"))?;
        let slot = AudienceSlot(u32::try_from(slot).unwrap_or(u32::MAX));
        let needs = Needs::of_audience(&plan, slot);
        narrow(&mut plan, &needs);
        let days = Days::new(&plan.zone, span, now)?;
        let kept_from = self.kept_from(now);
        let scan = self.begin_scan(cancel)?;
        let all = scan.shuffled();
        let (parts, exact) = scan.walk(&all, |diary: &mut Diary, shared: &Shared| {
            let Some(taken) = self.taken(shared) else {
                diary.gone += 1;
                return;
            };
            diary.looked += 1;
            diary.cut += u64::from(kept_from.is_some_and(|kept| taken.profile.core.created_at < kept));
            let moves = machine::moves(&plan, &taken.profile, &taken.entries, slot, now);
            diary.note(&days, span, taken.profile.core.id, &moves);
        });
        let diary = parts.into_iter().fold(Diary::default(), |all, part| all.join(part, span));
        self.unchanged(&base)?;
        let share = Share { looked: diary.looked, of: all.len() as u64 - diary.gone, exact };
        // Of whom nothing is gone everything is known; of the others, once what is gone matters no more.
        let exact_from = match kept_from.filter(|_| diary.cut > 0) {
            None => Some(days.from),
            Some(kept) => lookback(&plan, &needs).map(|back| kept.plus(back)),
        };
        let whole = exact && exact_from.is_some_and(|from| from <= days.from);
        let sums = |pick: fn(&(u64, u64)) -> u64| share.whole(diary.days.iter().map(pick).sum());
        Ok(json!({
            "executionTimeMs": u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            "exact": whole,
            "profiles": share.of,
            "looked": share.looked,
            "from": format_instant(days.from),
            "to": format_instant(days.to),
            "timezone": plan.zone.name(),
            "history": {
                "keptFrom": kept_from.map(format_instant),
                "profilesOlder": share.whole(diary.cut),
                "exactFrom": exact_from.filter(|from| *from < days.to).map(|from| format_instant(from.max(days.from))),
            },
            "sizeAtStart": share.whole(diary.at_start),
            "entered": sums(|day| day.0),
            "left": sums(|day| day.1),
            "people": share.whole(diary.people),
            "days": days.told(&diary, &share),
            "moments": self.moments(&diary, span, exact),
        }))
    }

    fn moments(&self, diary: &Diary, span: &Span, complete: bool) -> Json {
        let page: Vec<(&Place, &MembershipChange)> = diary.moments.iter().take(span.limit).collect();
        let rows: Vec<Json> = page
            .iter()
            .map(|((at, id, _), change)| {
                let shared = self.store.get(*id);
                let ids = shared.map(|shared| user_ids(&shared.lock()).into_iter().map(str::to_owned).collect::<Vec<_>>());
                json!({
                    "profileId": id.to_string(),
                    "userIds": ids.unwrap_or_default(),
                    "kind": if change.entered { "entered" } else { "left" },
                    "at": format_instant(*at),
                    "cause": change.cause.as_str(),
                    "seq": change.seq.0,
                })
            })
            .collect();
        // Another walk that is not complete meets other people.
        let more = complete && diary.moments.len() > span.limit;
        let next = page.last().filter(|_| more).map(|((at, id, i), _)| format!("{}.{id}.{i}", at.0));
        json!({"data": rows, "nextCursor": next, "total": diary.total})
    }
}

/// The local days of a dry run.
struct Days {
    from: Millis,
    /// Not included.
    to: Millis,
    /// Each day, and when it begins.
    starts: Vec<(Date, Millis)>,
}

impl Days {
    fn new(zone: &Zone, span: &Span, now: Millis) -> Result<Self, Unanswered> {
        let refuse = |pointer: &str, message: String| Err(invalid(pointer, "invalid_range", message));
        if !(1..=DAYS_MAX).contains(&span.days) {
            return refuse("/days", format!("days are 1 to {DAYS_MAX}"));
        }
        let to = span.to.map_or(now.plus(1), |to| to.min(now.plus(1)));
        let first = (1..span.days).fold(zone.date(to.minus(1)), |date, _| date.yesterday().unwrap_or(date));
        let from = span.from.unwrap_or_else(|| zone.start_of_day(first));
        if from >= to {
            return refuse("/from", "from is before to, and before now".to_owned());
        }
        let mut starts = Vec::new();
        let mut date = zone.date(from);
        while zone.start_of_day(date) < to {
            if starts.len() == DAYS_MAX as usize {
                return refuse("/from", format!("more than {DAYS_MAX} days"));
            }
            starts.push((date, zone.start_of_day(date)));
            let Ok(next) = date.tomorrow() else { break };
            date = next;
        }
        Ok(Self { from, to, starts })
    }

    /// Which day an instant of the range belongs to.
    fn of(&self, t: Millis) -> usize {
        self.starts.partition_point(|(_, start)| *start <= t).saturating_sub(1)
    }

    fn told(&self, diary: &Diary, share: &Share) -> Vec<Json> {
        let mut size = diary.at_start;
        let mut rows = Vec::with_capacity(self.starts.len());
        for (i, (date, _)) in self.starts.iter().enumerate() {
            let (entered, left) = diary.days.get(i).copied().unwrap_or_default();
            size = (size + entered).saturating_sub(left);
            let told = [entered, left, size].map(|n| share.whole(n));
            rows.push(json!({"date": date.to_string(), "entered": told[0], "left": told[1], "size": told[2]}));
        }
        rows
    }
}

/// What one thread has seen.
#[derive(Default)]
struct Diary {
    looked: u64,
    gone: u64,
    /// Profiles that are older than what is kept of their logs.
    cut: u64,
    /// Members when the range begins.
    at_start: u64,
    /// Profiles that enter at least once.
    people: u64,
    /// Entered and left, by day.
    days: Vec<(u64, u64)>,
    total: u64,
    /// The first of the moments of the page, and one more.
    moments: BTreeMap<Place, MembershipChange>,
}

impl Diary {
    /// Takes in the moves of one profile, oldest first.
    fn note(&mut self, days: &Days, span: &Span, id: ProfileId, moves: &[MembershipChange]) {
        let before = moves.iter().rev().find(|change| change.t < days.from);
        let mut inside = before.is_some_and(|change| change.entered);
        self.at_start += u64::from(inside);
        let mut comes = false;
        for (i, change) in moves.iter().enumerate().filter(|(_, change)| (days.from..days.to).contains(&change.t)) {
            let day = days.of(change.t);
            if self.days.len() <= day {
                self.days.resize(day + 1, (0, 0));
            }
            // Who enters again without having left is told and makes no difference to the numbers.
            match (inside, change.entered) {
                (false, true) => {
                    self.days[day].0 += 1;
                    comes = true;
                }
                (_, false) => self.days[day].1 += 1,
                (true, true) => {}
            }
            inside = change.entered;
            self.total += 1;
            self.keep((change.t, id, i), *change, span);
        }
        self.people += u64::from(comes);
    }

    fn keep(&mut self, place: Place, change: MembershipChange, span: &Span) {
        if span.after.is_none_or(|after| place > after) {
            self.moments.insert(place, change);
            if self.moments.len() > span.limit + 1 {
                self.moments.pop_last();
            }
        }
    }

    fn join(mut self, other: Self, span: &Span) -> Self {
        self.looked += other.looked;
        self.gone += other.gone;
        self.cut += other.cut;
        self.at_start += other.at_start;
        self.people += other.people;
        self.total += other.total;
        if self.days.len() < other.days.len() {
            self.days.resize(other.days.len(), (0, 0));
        }
        for (mine, theirs) in self.days.iter_mut().zip(&other.days) {
            *mine = (mine.0 + theirs.0, mine.1 + theirs.1);
        }
        other.moments.into_iter().for_each(|(place, change)| self.keep(place, change, span));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::Rig;

    /// From when on a log that is cut answers as the whole one would.
    #[test]
    fn a_definition_looks_back_as_far_as_its_windows() {
        let rig = Rig::new();
        let hours = |n: u32| json!({"timeWindowOperator": "within", "timeWindowEnd": n, "timeWindowUnit": "hours"});
        let event = |id: u32, more: Json| {
            let uuid = |n: u32| format!("00000000-0000-4000-8000-00000000000{n}");
            let mut event = json!({"eventId": "View", "internalId": uuid(id), "operator": "more_or_exactly", "count": 1});
            if id > 1 {
                event["parentId"] = uuid(id - 1).into();
            }
            event.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            event
        };
        let gap = |n: u32| json!({"withinPrevious": {"max": {"amount": n, "unit": "hours"}}});
        let both = |n: u32, m: u32| {
            let mut more = gap(n);
            more.as_object_mut().expect("an object").extend(hours(m).as_object().expect("an object").clone());
            more
        };
        let member = json!([{"source": "audience", "key": "viewers", "dataType": "boolean", "operator": "true"}]);
        for (events, traits, want) in [
            (json!([]), json!([]), Some(0)),
            (json!([event(1, json!({}))]), json!([]), None),
            (json!([event(1, hours(5))]), json!([]), Some(5)),
            (json!([event(1, hours(5)), event(0, hours(9))]), json!([]), Some(9)),
            // What it reads counts for ever.
            (json!([event(1, hours(5))]), member, None),
            (json!([event(1, hours(5)), event(2, json!({}))]), json!([]), Some(5)),
            (json!([event(1, json!({})), event(2, json!({}))]), json!([]), None),
            (json!([event(1, json!({})), event(2, both(3, 4))]), json!([]), Some(7)),
            (json!([event(1, json!({"count": 2})), event(2, both(3, 4))]), json!([]), None),
        ] {
            let body = json!({"includeAnonymous": true, "events": events, "traits": traits});
            let drafted = rig.engine.draft(Kind::Audience, body.clone(), None).map_err(|e| format!("{e:?}")).unwrap();
            let needs = Needs::of_audience(&drafted.plan, AudienceSlot(u32::try_from(drafted.slot).unwrap()));
            assert_eq!(lookback(&drafted.plan, &needs), want.map(|n: i64| n * 3_600_000), "{body}");
        }
    }
}
