//! Membership, recomputed from the whole log by the definition of an audience.

use super::chains::{Chain, Step};
use super::conditions::{Cond, conditions};
use super::names::{channel, compile_audience, event};
use super::random::{TICK, history, play};
use super::rig::{Custom, Entry, Rig};
use lodestone_state::audience::{AudienceDef, AudienceState};
use lodestone_state::event::Occurrence;
use lodestone_state::ids::{Millis, Moment};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

/// An event of the log with what the person was like before it.
pub(crate) struct Seen {
    pub(crate) moment: Moment,
    pub(crate) event: Occurrence,
    pub(crate) custom: Custom,
}

/// The events up to `now`, in order.
pub(crate) fn seen(log: &[(Moment, Entry)], now: Millis) -> Vec<Seen> {
    let mut custom = Custom::default();
    let mut seen = Vec::new();
    for (moment, entry) in log.iter().filter(|(moment, _)| moment.t <= now) {
        custom.become_as(entry);
        if let Entry::Event(event) = entry {
            seen.push(Seen { moment: *moment, event: event.clone(), custom: custom.clone() });
        }
    }
    seen
}

/// Ages in ticks: none, within, or in between.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Window {
    Any,
    Within(i64),
    Between(i64, i64),
}

impl Window {
    pub(crate) fn json(self) -> Json {
        let of = |operator: &str, start: i64, end: i64| json!({"timeWindowOperator": operator, "timeWindowStart": start * 6, "timeWindowEnd": end * 6, "timeWindowUnit": "hours"});
        match self {
            Self::Any => json!({"timeWindowOperator": "any_time"}),
            Self::Within(end) => of("within", 0, end),
            Self::Between(start, end) => of("in_between", start, end),
        }
    }

    pub(crate) fn open(self, t: i64, now: i64) -> bool {
        match self {
            Self::Any => true,
            Self::Within(end) => t <= now && now < t + end * TICK,
            Self::Between(start, end) => t + start * TICK <= now && now < t + end * TICK,
        }
    }
}

pub(crate) fn window() -> impl Strategy<Value = Window> {
    prop_oneof![
        3 => Just(Window::Any),
        3 => (1..10_i64).prop_map(Window::Within),
        2 => (0..5_i64, 1..8_i64).prop_map(|(start, length)| Window::Between(start, start + length)),
    ]
}

/// Which events, as in the definition.
#[derive(Clone, Debug)]
pub(crate) struct What {
    pub(crate) name: char,
    pub(crate) web_only: bool,
    pub(crate) conditions: Vec<Cond>,
}

impl What {
    pub(crate) fn json(&self) -> Json {
        let conditions: Vec<Json> = self.conditions.iter().map(Cond::json).collect();
        let channels = if self.web_only { json!(["web"]) } else { json!([]) };
        json!({"id": self.name.to_string(), "channels": channels, "properties": conditions})
    }

    pub(crate) fn matches(
        &self,
        seen: &Seen,
        now: i64,
        earlier: &dyn Fn(usize) -> Option<lodestone_state::value::Value>,
    ) -> bool {
        seen.event.event == event(&self.name.to_string())
            && (!self.web_only || seen.event.channel == channel("web"))
            && self.conditions.iter().all(|cond| cond.holds(&seen.event, &seen.custom, now, earlier))
    }
}

/// One condition of the events form.
#[derive(Clone, Debug)]
pub(crate) struct Count {
    pub(crate) what: What,
    operator: &'static str,
    count: usize,
    window: Window,
}

impl Count {
    /// That none of these events ever happened.
    pub(crate) fn none(name: char, condition: Cond) -> Self {
        Self::ever("exactly", name, condition)
    }

    /// That at least one of these events happened.
    pub(crate) fn some(name: char, condition: Cond) -> Self {
        Self::ever("more_than", name, condition)
    }

    /// So many as `operator` says of zero.
    fn ever(operator: &'static str, name: char, condition: Cond) -> Self {
        let what = What { name, web_only: false, conditions: vec![condition] };
        Self { what, operator, count: 0, window: Window::Any }
    }

    pub(crate) fn json(&self) -> Json {
        let mut json = self.what.json();
        json["operator"] = json!(self.operator);
        json["count"] = json!(self.count);
        merge(&mut json, &self.window.json());
        json
    }

    pub(crate) fn holds(&self, events: &[Seen], now: i64) -> bool {
        let matches = |seen: &&Seen| self.window.open(seen.moment.t.0, now) && self.what.matches(seen, now, &|_| None);
        let have = events.iter().filter(matches).count();
        match self.operator {
            "more_or_exactly" => have >= self.count,
            "more_than" => have > self.count,
            "less_or_exactly" => have <= self.count,
            "less_than" => have < self.count,
            _ => have == self.count,
        }
    }
}

pub(crate) fn merge(into: &mut Json, from: &Json) {
    from.as_object().into_iter().flatten().for_each(|(key, value)| into[key] = value.clone());
}

pub(crate) fn count() -> impl Strategy<Value = Count> {
    let what = (prop::sample::select(vec!['A', 'B']), prop::bool::weighted(0.2), conditions(vec![], true))
        .prop_map(|(name, web_only, conditions)| What { name, web_only, conditions });
    let operator = prop::sample::select(vec!["more_or_exactly", "more_than", "less_or_exactly", "less_than", "exactly"]);
    (what, operator, 0..4_usize, window()).prop_map(|(what, operator, count, window)| {
        let count = if operator == "less_than" { count.max(1) } else { count };
        Count { what, operator, count, window }
    })
}

fn compile(events: &[Json], more: &Json) -> AudienceDef {
    let mut json = json!({"name": "N", "includeAnonymous": true, "events": events});
    merge(&mut json, more);
    compile_audience(&json).unwrap_or_else(|issues| panic!("{issues:?} in {json}"))
}

/// Plays a history and holds membership against `expect` at every instant that matters. What is told about
/// the future must hold too: no change before `until`.
fn check(
    def: &AudienceDef,
    history: &[super::random::Input],
    expect: &dyn Fn(&[Seen], i64) -> bool,
) -> Result<(), TestCaseError> {
    let mut rig = Rig::new(def);
    play(&mut rig, history, &mut |rig, now| {
        let truth = rig.truth(now);
        let events = seen(&rig.log, now);
        assert_eq!(truth.holds, expect(&events, now.0), "at {now:?}");
        assert!(truth.until > now);
        if now == rig.clock {
            // What the engine would sleep until.
            let next = rig.next().min(now.plus(40 * TICK));
            let before = next.minus(1);
            assert_eq!(truth.holds, expect(&events, before.0), "told to stand at {now:?} until {next:?}");
        }
    });
    let stored = bincode::serialize(&rig.state).unwrap();
    prop_assert_eq!(&bincode::deserialize::<AudienceState>(&stored).unwrap(), &rig.state);
    prop_assert!(!def.approx(&rig.state));
    Ok(())
}

fn check_chain(chain: &Chain, history: &[super::random::Input]) -> Result<(), TestCaseError> {
    let events: Vec<Json> = (0..).zip(&chain.steps).map(|(i, step): (usize, &Step)| step.json(i)).collect();
    let def = compile(&events, &chain.json());
    check(&def, history, &|events, now| chain.member(events, now))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases * 2, failure_persistence: None, ..ProptestConfig::default() })]

    /// T-37..T-42, T-96: conditions side by side.
    #[test]
    fn counts_equal_the_oracle(counts in prop::collection::vec(count(), 1..4), history in history("ABQ", 40)) {
        let events: Vec<Json> = counts.iter().map(Count::json).collect();
        let def = compile(&events, &json!({}));
        check(&def, &history, &|events, now| counts.iter().all(|count| count.holds(events, now)))?;
    }

    /// T-45..T-56, T-96: chains.
    #[test]
    fn chains_equal_the_oracle(chain in super::chains::chain(), history in history("ABCX", 24)) {
        check_chain(&chain, &history)?;
    }

    /// T-47..T-50, T-53: the same where runs compete.
    #[test]
    fn busy_chains_equal_the_oracle(chain in super::chains::busy_chain(), history in history("AABX", 24)) {
        check_chain(&chain, &history)?;
    }
}
