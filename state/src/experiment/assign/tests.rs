use super::*;
use crate::action::Properties;
use crate::experiment::Variant;
use crate::ids::{GoalSlot, Millis, Moment, Seq};

fn experiment(key: &str, salt: &str, weights: &[f64], holdout: f64) -> ExperimentDef {
    let variant = |(i, weight): (usize, &f64)| Variant {
        key: format!("v{i}").into(),
        name: format!("v{i}").into(),
        weight: *weight,
        properties: Properties::default(),
    };
    ExperimentDef {
        key: key.into(),
        salt: salt.into(),
        actions: Box::default(),
        tag: None,
        variants: weights.iter().enumerate().map(variant).collect(),
        holdout,
        goal: GoalSlot(0),
        running: true,
        confidence: 0.95,
        window_ms: None,
    }
}

/// Profile ids as they are minted: time first, then chance.
fn people(n: u64) -> impl Iterator<Item = ProfileId> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..n).map(move |i| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ProfileId(u128::from(1_700_000_000_000 + i) << 80 | 7 << 76 | u128::from(state))
    })
}

/// Worked out with hashlib: the mapping is part of the interface, so that others can tell arms apart.
#[test]
fn the_mapping_is_as_documented() {
    let def = experiment("coupon", "2024", &[1.0, 1.0, 2.0], 0.1);
    for (root, expect) in VECTORS {
        assert_eq!(def.draw(root.parse().expect("an id")), expect, "{root}");
    }
}

const VECTORS: [(&str, u16); 8] = [
    ("018cc251-f400-7000-8000-000000000002", 0),
    ("018cc251-f400-7000-8000-000000000004", 0),
    ("018cc251-f400-7000-8000-000000000006", 1),
    ("018cc251-f400-7000-8000-00000000000b", 1),
    ("018cc251-f400-7000-8000-000000000000", 2),
    ("018cc251-f400-7000-8000-000000000001", 2),
    ("018cc251-f400-7000-8000-000000000003", Arm::HOLDOUT),
    ("018cc251-f400-7000-8000-00000000001f", Arm::HOLDOUT),
];

/// Arms get their shares: within four standard errors of 200,000 people.
#[test]
fn arms_get_their_shares() {
    let def = experiment("coupon", "", &[1.0, 2.0, 0.0, 1.0], 0.2);
    let n = 200_000;
    let mut counts = std::collections::BTreeMap::<u16, u32>::new();
    people(n).for_each(|root| *counts.entry(def.draw(root)).or_default() += 1);
    for arm in [0, 1, 2, 3, Arm::HOLDOUT] {
        let share = def.share(arm);
        let error = (share * (1.0 - share) / n as f64).sqrt();
        let seen = f64::from(counts.get(&arm).copied().unwrap_or(0)) / n as f64;
        assert!((seen - share).abs() <= 4.0 * error, "arm {arm}: {seen} for {share}");
    }
    let shares: f64 = [0, 1, 2, 3, Arm::HOLDOUT].iter().map(|arm| def.share(*arm)).sum();
    assert!((shares - 1.0).abs() < 1e-12);
}

/// Two experiments assign independently of each other: of those in one arm of the first, each arm of the
/// second has its share.
#[test]
fn experiments_do_not_know_of_each_other() {
    let (a, b) = (experiment("a", "", &[1.0, 1.0], 0.0), experiment("b", "", &[1.0, 1.0], 0.0));
    let salted = experiment("a", "again", &[1.0, 1.0], 0.0);
    for other in [&b, &salted] {
        let both = people(100_000).filter(|root| a.draw(*root) == 0 && other.draw(*root) == 0).count();
        // A quarter, within four standard errors.
        assert!((both as f64 - 25_000.0).abs() < 4.0 * (100_000.0_f64 * 0.25 * 0.75).sqrt(), "{both}");
    }
}

/// Another holdout or other weights, between two runs, move no more people than they have to.
#[test]
fn changes_move_as_few_as_possible() {
    let before = experiment("coupon", "", &[1.0, 1.0], 0.1);
    let wider = experiment("coupon", "", &[1.0, 1.0], 0.2);
    let tilted = experiment("coupon", "", &[3.0, 2.0], 0.1);
    let (mut held, mut tilt) = (0, 0);
    for root in people(100_000) {
        let was = before.draw(root);
        let now = wider.draw(root);
        if was != now {
            assert_eq!(now, Arm::HOLDOUT, "a wider holdout only takes people in");
            held += 1;
        }
        let now = tilted.draw(root);
        if was != now {
            assert_eq!((was, now), (1, 0), "more weight only takes people over");
            tilt += 1;
        }
    }
    // A tenth of all, and a tenth of the nine tenths not held back; within four standard errors.
    assert!((f64::from(held) - 10_000.0).abs() < 4.0 * 95.0, "{held}");
    assert!((f64::from(tilt) - 9_000.0).abs() < 4.0 * 91.0, "{tilt}");
}

/// Whoever was exposed stays where they were, as long as that arm is open.
#[test]
fn exposure_sticks() {
    let def = experiment("coupon", "", &[1.0, 1.0], 0.5);
    let root = people(100).find(|root| def.draw(*root) == 0).expect("somebody");
    let seen_in = |variant| {
        let mut trial = TrialState::default();
        trial.expose(Moment { t: Millis(1), seq: Seq(1) }, variant, Moment::default());
        trial
    };
    assert_eq!(def.arm(root, None), 0);
    assert_eq!(def.arm(root, Some(&TrialState::default())), 0);
    assert_eq!(def.arm(root, Some(&seen_in(1))), 1);
    assert_eq!(def.arm(root, Some(&seen_in(Arm::HOLDOUT))), Arm::HOLDOUT);
    let released = experiment("coupon", "", &[1.0, 0.0], 0.0);
    assert_eq!(released.arm(root, Some(&seen_in(Arm::HOLDOUT))), 0, "the holdout was given up");
    assert_eq!(released.arm(root, Some(&seen_in(1))), 0, "the variant was closed");
}
