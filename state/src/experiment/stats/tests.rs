use super::*;

/// Repeatable chance (splitmix64).
struct Chance(u64);

impl Chance {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn holds(&mut self, chance: f64) -> bool {
        self.unit() < chance
    }
}

/// What one arm has seen so far.
#[derive(Clone, Copy, Default)]
struct Arm {
    people: u64,
    converted: u64,
    sum: f64,
    squares: f64,
}

impl Arm {
    fn take(&mut self, value: f64) {
        self.people += 1;
        self.converted += u64::from(value > 0.0);
        self.sum += value;
        self.squares += value * value;
    }

    fn share(&self) -> Sample {
        Sample::share(self.people, self.converted)
    }

    fn value(&self) -> Sample {
        Sample::mean(self.people, self.converted, self.sum, self.squares)
    }
}

/// The interval of the textbook, for the control of each test below.
fn naive_is_clear(control: &Sample, arm: &Sample) -> bool {
    let few = control.people.min(arm.people) < PEOPLE_MIN || control.converted + arm.converted < CONVERTED_MIN;
    let error = (control.variance() / control.people as f64 + arm.variance() / arm.people as f64).sqrt();
    !few && (arm.average() - control.average()).abs() > 1.96 * error
}

/// How often looking after every person calls a difference clear at least once, by our interval and by
/// the textbook's, over `runs` experiments of `people` each.
fn peeked(
    runs: u64,
    people: u64,
    split: f64,
    sample: fn(&Arm) -> Sample,
    outcome: &dyn Fn(&mut Chance, bool) -> f64,
) -> (f64, f64) {
    let (mut ours, mut naive) = (0_u32, 0_u32);
    for run in 0..runs {
        let mut chance = Chance(run);
        let (mut control, mut arm) = (Arm::default(), Arm::default());
        let (mut our, mut their) = (false, false);
        for _ in 0..people {
            let treated = chance.holds(split);
            let value = outcome(&mut chance, treated);
            if treated {
                arm.take(value)
            } else {
                control.take(value)
            };
            let (c, a) = (sample(&control), sample(&arm));
            our |= compare(&c, &a, 0.05).is_some_and(|both| both.is_clear());
            their |= naive_is_clear(&c, &a);
        }
        ours += u32::from(our);
        naive += u32::from(their);
    }
    (f64::from(ours) / runs as f64, f64::from(naive) / runs as f64)
}

/// Two arms that do the same: whoever looks after every person is wrong in at most one of twenty experiments,
/// and by the textbook's interval in far more.
#[test]
fn looking_all_the_time_is_safe_when_nothing_differs() {
    let tenth = |chance: &mut Chance, _: bool| f64::from(u8::from(chance.holds(0.1)));
    let rare = |chance: &mut Chance, _: bool| f64::from(u8::from(chance.holds(0.02)));
    // Most buy nothing; who buys, spends between 1 and 400, little more often than much.
    let spend = |chance: &mut Chance, _: bool| if chance.holds(0.08) { 400.0_f64.powf(chance.unit()) } else { 0.0 };
    for (name, split, sample, outcome) in [
        ("one in ten", 0.5, Arm::share as fn(&Arm) -> Sample, &tenth as &dyn Fn(&mut Chance, bool) -> f64),
        ("one in fifty, nine in ten treated", 0.9, Arm::share, &rare),
        ("spending", 0.5, Arm::value, &spend),
        ("spending, nine in ten treated", 0.9, Arm::value, &spend),
    ] {
        let (ours, naive) = peeked(250, 8_000, split, sample, outcome);
        assert!(ours <= 0.05, "{name}: wrong in {ours} of the experiments");
        assert!(naive > 0.25, "{name}: the textbook's interval is wrong in {naive}");
    }
}

/// Somebody who converts does so after a while: the arms are looked at with what has happened so far.
#[test]
fn conversions_that_come_later_do_no_harm() {
    let (runs, people) = (250, 8_000_usize);
    let mut wrong = 0_u32;
    for run in 0..runs {
        let mut chance = Chance(1_000_000 + run);
        let mut due: Vec<Vec<bool>> = vec![Vec::new(); people + 4_000];
        let (mut control, mut arm) = ((0, 0), (0, 0));
        let mut clear = false;
        for now in 0..people {
            let treated = chance.holds(0.5);
            if treated {
                arm.0 += 1
            } else {
                control.0 += 1
            }
            if chance.holds(0.1) {
                let wait = (-chance.unit().max(1e-12).ln() * 500.0) as usize;
                due[now + wait.min(3_999)].push(treated);
            }
            for treated in std::mem::take(&mut due[now]) {
                if treated { arm.1 += 1 } else { control.1 += 1 }
            }
            let (c, a) = (Sample::share(control.0, control.1), Sample::share(arm.0, arm.1));
            clear |= compare(&c, &a, 0.05).is_some_and(|both| both.is_clear());
        }
        wrong += u32::from(clear);
    }
    assert!(f64::from(wrong) / runs as f64 <= 0.05, "{wrong} of {runs}");
}

/// A real difference is found, and sooner the larger it is.
#[test]
fn a_real_difference_is_found() {
    for (rates, people, least) in [((0.10, 0.12), 20_000, 0.85), ((0.10, 0.13), 20_000, 0.99), ((0.10, 0.15), 6_000, 0.95)] {
        let outcome =
            move |chance: &mut Chance, treated: bool| f64::from(u8::from(chance.holds(if treated { rates.1 } else { rates.0 })));
        let (ours, _) = peeked(100, people, 0.5, Arm::share, &outcome);
        assert!(ours >= least, "{rates:?}: found in {ours}");
    }
}

/// The truth lies in the interval at every look, for the difference and for the relative lift.
#[test]
fn the_truth_is_inside_at_every_look() {
    let (runs, rates) = (300, (0.10, 0.13));
    let (mut out, mut out_relative) = (0_u32, 0_u32);
    for run in 0..runs {
        let mut chance = Chance(2_000_000 + run);
        let (mut control, mut arm) = (Arm::default(), Arm::default());
        let (mut missed, mut missed_relative) = (false, false);
        for _ in 0..8_000 {
            let treated = chance.holds(0.5);
            let value = f64::from(u8::from(chance.holds(if treated { rates.1 } else { rates.0 })));
            if treated {
                arm.take(value)
            } else {
                control.take(value)
            };
            if let Some(both) = compare(&control.share(), &arm.share(), 0.05) {
                let outside = |estimate: &Estimate, truth: f64| truth < estimate.low || truth > estimate.high;
                missed |= outside(&both.difference, rates.1 - rates.0);
                missed_relative |= both.lift.as_ref().is_some_and(|lift| outside(lift, rates.1 / rates.0 - 1.0));
            }
        }
        out += u32::from(missed);
        out_relative += u32::from(missed_relative);
    }
    assert!(f64::from(out) <= 0.05 * runs as f64, "{out} of {runs}");
    assert!(f64::from(out_relative) <= 0.05 * runs as f64, "{out_relative} of {runs}");
}

/// Worked out by hand from the formula, with α 0.05: n·ρ² is 7.936 at 5,000 people.
#[test]
fn the_width_is_the_formulas() {
    assert!((width(5_000, 0.05) - 3.035).abs() < 0.001, "{}", width(5_000, 0.05));
    let both = compare(&Sample::share(2_500, 250), &Sample::share(2_500, 300), 0.05).expect("enough people");
    // 3.035 · √(0.11·0.89/2500 + 0.12·0.88/2500): the control is not taken to vary less than both together.
    assert!((both.difference.value - 0.02).abs() < 1e-12);
    assert!((both.difference.high - both.difference.value - 0.027_388).abs() < 1e-5, "{:?}", both.difference);
    let lift = both.lift.expect("both above 0");
    assert!((lift.value - 0.2).abs() < 1e-12 && lift.low < 0.0 && lift.high > 0.2);
    // Twice as sure, and with ten times the people, it is where it should be.
    assert!(
        width(5_000, 0.01) > width(5_000, 0.05)
            && width(50_000, 0.05) / 50_000_f64.sqrt() < width(5_000, 0.05) / 5_000_f64.sqrt()
    );
}

#[test]
fn nothing_is_told_of_too_few() {
    let enough = Sample::share(100, 20);
    assert!(compare(&enough, &Sample::share(100, 30), 0.05).is_some());
    assert!(compare(&enough, &Sample::share(PEOPLE_MIN - 1, 30), 0.05).is_none());
    assert!(compare(&Sample::share(100, 4), &Sample::share(100, 5), 0.05).is_none());
    // No spread: everybody spent the same.
    let same = Sample::mean(100, 100, 500.0, 2_500.0);
    assert!(compare(&same, &same, 0.05).is_none());
    assert!(compare(&Sample::share(100, 0), &enough, 0.05).is_some_and(|both| both.lift.is_none()));
}

/// Arms as they should be look odd in at most one of a hundred experiments however often one looks; arms that
/// lose a few people in a hundred are found.
#[test]
fn uneven_arms_are_found() {
    let shares = [0.1, 0.45, 0.45];
    let least = |run: u64, lost: f64| {
        let mut chance = Chance(3_000_000 + run);
        let mut counts = [0_u64; 3];
        let mut least = 1.0_f64;
        for person in 0..20_000 {
            let at = chance.unit();
            let arm = if at < 0.1 {
                0
            } else if at < 0.55 {
                1
            } else {
                2
            };
            if arm == 2 && chance.holds(lost) {
                continue;
            }
            counts[arm] += 1;
            if person % 20 == 0 {
                least = least.min(sample_ratio(&[(counts[0], shares[0]), (counts[1], shares[1]), (counts[2], shares[2])]));
            }
        }
        least
    };
    let below = |lost: f64, bound: f64| (0..200).filter(|run| least(*run, lost) < bound).count();
    assert!(below(0.0, 0.01) <= 2, "{} of 200", below(0.0, 0.01));
    assert_eq!((0..20).filter(|run| least(*run, 0.1) < 0.001).count(), 20);
}

#[test]
fn gamma_is_gamma() {
    for (x, expect) in [
        (0.25, 1.288_022_524_698_077_4),
        (0.5, 0.572_364_942_924_700_1),
        (1.0, 0.0),
        (10.0, 12.801_827_480_081_469),
        (1000.0, 5_905.220_423_209_181),
    ] {
        assert!((ln_gamma(x) - expect).abs() <= 1e-12 * expect.max(1.0), "{x}: {}", ln_gamma(x));
    }
}
