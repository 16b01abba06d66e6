//! What rules should do, from the full list of events, recomputed at every instant at which anything can
//! change. Shares nothing with the engine but the names of how a rule fires.

use jiff::tz::TimeZone;
use lodestone_state::event::Firing;
use std::collections::{BTreeSet, VecDeque};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Number {
    Count,
    Sum,
    Avg,
    Min,
    Unique,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Span {
    Ever,
    /// `[from, to)`.
    Dates(i64, i64),
    Last(i64),
    Day,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Often {
    Once,
    Period,
    Crossing,
    Every(i64),
}

/// A rule as people mean it.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) key: String,
    pub(crate) event: &'static str,
    pub(crate) number: Number,
    /// A computed trait: dates narrow when it is looked at, and it has a window of its own.
    pub(crate) is_trait: Option<Span>,
    pub(crate) span: Span,
    /// `≥`, else `<`.
    pub(crate) at_least: bool,
    pub(crate) threshold: i64,
    pub(crate) often: Often,
    pub(crate) clears: bool,
    pub(crate) on_backfill: bool,
    pub(crate) emits: Option<&'static str>,
}

#[derive(Clone, Debug)]
struct Event {
    t: i64,
    seq: u64,
    name: &'static str,
    n: Option<i64>,
    p: Option<char>,
}

#[derive(Clone, Debug)]
struct Mark {
    t: i64,
    seq: u64,
    what: Firing,
    multiple: i64,
}

#[derive(Clone, Debug, Default)]
struct Person {
    events: Vec<Event>,
    marks: Vec<Vec<Mark>>,
    /// Rules whose attribute is there.
    set: BTreeSet<usize>,
    clock: i64,
}

/// What brought a look about.
#[derive(Clone, Copy, PartialEq)]
enum Why<'a> {
    Input(&'a [usize]),
    Time,
    Definition,
    /// With the rules that either side had open.
    Merge(&'a [bool]),
}

pub(crate) struct Oracle {
    pub(crate) rules: Vec<Rule>,
    people: Vec<Person>,
    pub(crate) now: i64,
    seq: u64,
    waiting: VecDeque<(usize, i64, &'static str, Vec<usize>)>,
}

const HOUR: i64 = 3_600_000;

fn local(t: i64) -> jiff::Zoned {
    let zone = TimeZone::get("Europe/Berlin").expect("a zone");
    jiff::Timestamp::from_millisecond(t).expect("an instant").to_zoned(zone)
}

/// The first instants of the local days around `t`.
fn midnights(t: i64) -> Vec<i64> {
    let today = local(t).start_of_day().expect("a day");
    (-1..=2).map(|days| today.checked_add(jiff::Span::new().days(days)).expect("a day").timestamp().as_millisecond()).collect()
}

impl Oracle {
    pub(crate) fn new(rules: Vec<Rule>, now: i64, people: usize) -> Self {
        let person = Person { marks: vec![Vec::new(); rules.len()], clock: now, ..Person::default() };
        let mut oracle = Self { rules, people: vec![person; people], now, seq: 0, waiting: VecDeque::new() };
        for who in 0..people {
            oracle.look(who, now, Why::Input(&[]));
        }
        oracle.follow();
        oracle
    }

    fn number(&self, rule: &Rule, person: &Person, now: i64) -> Option<f64> {
        let span = rule.is_trait.unwrap_or(rule.span);
        let inside = |t: i64| match span {
            Span::Ever => true,
            Span::Dates(from, to) => from <= t && t < to,
            Span::Last(ms) => t <= now && now < t + ms,
            Span::Day => local(t).date() == local(now).date(),
        };
        let events: Vec<&Event> = person.events.iter().filter(|e| e.name == rule.event && inside(e.t)).collect();
        let numbers: Vec<i64> = events.iter().filter_map(|e| e.n).collect();
        let sum: i64 = numbers.iter().sum();
        match rule.number {
            Number::Count => Some(events.len() as f64),
            Number::Sum => Some(sum as f64),
            Number::Avg => (!numbers.is_empty()).then(|| sum as f64 / numbers.len() as f64),
            Number::Min => numbers.iter().min().map(|n| *n as f64),
            Number::Unique => Some(events.iter().filter_map(|e| e.p).collect::<BTreeSet<char>>().len() as f64),
        }
    }

    pub(crate) fn metric(&self, who: usize, rule: usize) -> Option<f64> {
        self.number(&self.rules[rule], &self.people[who], self.now)
    }

    fn holds(&self, rule: &Rule, person: &Person, now: i64) -> bool {
        let looked_at = match (rule.is_trait, rule.span) {
            (Some(_), Span::Dates(from, to)) => from <= now && now < to,
            _ => true,
        };
        let threshold = rule.threshold as f64;
        looked_at && self.number(rule, person, now).is_some_and(|n| if rule.at_least { n >= threshold } else { n < threshold })
    }

    /// Fires what is due at `now`.
    fn look(&mut self, who: usize, now: i64, why: Why<'_>) {
        for at in 0..self.rules.len() {
            let rule = &self.rules[at];
            let person = &self.people[who];
            let marks = &person.marks[at];
            let open = marks.last().is_some_and(|mark| mark.what != Firing::Cleared);
            let real: Vec<&Mark> = marks.iter().filter(|mark| mark.what != Firing::Cleared).collect();
            let in_period = |mark: &&&Mark| match rule.span {
                Span::Dates(from, _) => mark.t >= from,
                Span::Day => local(mark.t).date() == local(now).date(),
                _ => true,
            };
            let multiple = match (rule.often, self.number(rule, person, now)) {
                (Often::Every(n), Some(value)) => (value / n as f64).floor().max(0.0) as i64,
                _ => 0,
            };
            let highest = real.iter().filter(in_period).map(|mark| mark.multiple).max().unwrap_or(0);
            let fires = match rule.often {
                Often::Once => real.is_empty(),
                Often::Period => !real.iter().any(|mark| in_period(&mark)),
                Often::Crossing => !open,
                Often::Every(_) => multiple > highest,
            };
            let holds = self.holds(rule, person, now);
            let what = if holds && fires {
                match why {
                    Why::Input(chain) if chain.contains(&at) => Firing::Quiet,
                    Why::Definition if rule.on_backfill => Firing::Backfill,
                    Why::Definition => Firing::Quiet,
                    Why::Merge(open) if rule.often == Often::Crossing && open[at] => Firing::Quiet,
                    _ => Firing::Met,
                }
            } else if !holds && (rule.clears && person.set.contains(&at) || rule.often == Often::Crossing && open) {
                Firing::Cleared
            } else {
                continue;
            };
            let (clears, emits) = (rule.clears, rule.emits);
            self.seq += 1;
            let multiple = if what == Firing::Cleared { 0 } else { multiple };
            let person = &mut self.people[who];
            person.marks[at].push(Mark { t: now, seq: self.seq, what, multiple });
            match what {
                Firing::Met | Firing::Backfill => {
                    person.set.insert(at);
                    if let Some(name) = emits {
                        let mut chain = match why {
                            Why::Input(chain) => chain.to_vec(),
                            _ => Vec::new(),
                        };
                        chain.push(at);
                        self.waiting.push_back((who, now, name, chain));
                    }
                }
                Firing::Cleared if clears => drop(person.set.remove(&at)),
                _ => {}
            }
        }
    }

    /// Every instant until now at which anything can change by itself.
    fn catch_up(&mut self, who: usize) {
        let person = &self.people[who];
        let windows: Vec<i64> = self
            .rules
            .iter()
            .flat_map(|rule| [Some(rule.span), rule.is_trait])
            .filter_map(|span| if let Some(Span::Last(ms)) = span { Some(ms) } else { None })
            .collect();
        let mut instants: BTreeSet<i64> = BTreeSet::new();
        for event in &person.events {
            instants.extend(windows.iter().map(|ms| event.t + ms));
        }
        for rule in &self.rules {
            if let Span::Dates(from, to) = rule.span {
                instants.extend([from, to]);
            }
        }
        let mut t = person.clock;
        while t <= self.now + 48 * HOUR {
            instants.extend(midnights(t));
            t += 24 * HOUR;
        }
        let (clock, now) = (person.clock, self.now);
        for instant in instants.into_iter().filter(|instant| *instant > clock && *instant <= now) {
            self.look(who, instant, Why::Time);
        }
        self.people[who].clock = self.now;
    }

    fn event(&mut self, who: usize, t: i64, name: &'static str, n: Option<i64>, p: Option<char>, chain: &[usize]) {
        self.catch_up(who);
        self.seq += 1;
        let seq = self.seq;
        self.people[who].events.push(Event { t, seq, name, n, p });
        self.look(who, self.now, Why::Input(chain));
    }

    fn follow(&mut self) {
        while let Some((who, t, name, chain)) = self.waiting.pop_front() {
            if chain.len() <= 8 {
                self.event(who, t, name, None, None, &chain);
            }
        }
    }

    pub(crate) fn track(&mut self, who: usize, name: &'static str, t: i64, n: Option<i64>, p: Option<char>) {
        self.event(who, t, name, n, p, &[]);
        self.follow();
    }

    pub(crate) fn pass(&mut self, now: i64) {
        self.now = now;
        for who in 0..self.people.len() {
            self.catch_up(who);
        }
        self.follow();
    }

    pub(crate) fn merge(&mut self) {
        self.pass(self.now);
        let other = self.people.remove(1);
        let open = |person: &Person, at: usize| person.marks[at].last().is_some_and(|mark| mark.what != Firing::Cleared);
        let either: Vec<bool> = (0..self.rules.len()).map(|at| open(&self.people[0], at) || open(&other, at)).collect();
        let person = &mut self.people[0];
        person.events.extend(other.events);
        for (mine, theirs) in person.marks.iter_mut().zip(other.marks) {
            mine.extend(theirs);
            mine.sort_by_key(|mark| (mark.t, mark.seq));
        }
        person.set.extend(other.set);
        self.look(0, self.now, Why::Merge(&either));
        self.follow();
    }

    /// Takes out the event at this moment.
    pub(crate) fn erase(&mut self, who: usize, which: usize) {
        self.pass(self.now);
        let events = &mut self.people[who].events;
        events.sort_by_key(|event| event.seq);
        if !events.is_empty() {
            events.remove(which % events.len());
            self.look(who, self.now, Why::Definition);
            self.follow();
        }
    }

    /// Definitions change to these; those that stay keep their place.
    pub(crate) fn edit(&mut self, rules: Vec<Rule>) {
        self.pass(self.now);
        for person in &mut self.people {
            person.marks.resize(rules.len(), Vec::new());
        }
        self.rules = rules;
        for who in 0..self.people.len() {
            self.look(who, self.now, Why::Definition);
            self.follow();
        }
    }

    /// What fired, as `(time, key, how, multiple)`, sorted.
    pub(crate) fn fired(&self, who: usize) -> Vec<(i64, String, &'static str, i64)> {
        let mut all: Vec<_> = self.people[who]
            .marks
            .iter()
            .zip(&self.rules)
            .flat_map(|(marks, rule)| marks.iter().map(|mark| (mark.t, rule.key.clone(), word(mark.what), mark.multiple)))
            .collect();
        all.sort();
        all
    }

    pub(crate) fn set(&self, who: usize) -> Vec<String> {
        self.people[who].set.iter().map(|at| self.rules[*at].key.clone()).collect()
    }

    pub(crate) fn people(&self) -> usize {
        self.people.len()
    }
}

pub(crate) fn word(what: Firing) -> &'static str {
    match what {
        Firing::Met => "met",
        Firing::Backfill => "backfill",
        Firing::Quiet => "quiet",
        Firing::Cleared => "cleared",
    }
}
