use super::*;
use crate::experiment::Variant;
use crate::ids::{GoalSlot, Millis, Seq};

fn def(window_ms: Option<i64>) -> ExperimentDef {
    let variant =
        |key: &str| Variant { key: key.into(), name: key.into(), weight: 1.0, properties: crate::action::Properties::default() };
    ExperimentDef {
        key: "x".into(),
        salt: "".into(),
        actions: Box::default(),
        tag: None,
        variants: Box::new([variant("a"), variant("b")]),
        holdout: 0.0,
        goal: GoalSlot(0),
        running: true,
        confidence: 0.95,
        window_ms,
    }
}

fn at(t: i64) -> Moment {
    Moment { t: Millis(t), seq: Seq(t.unsigned_abs()) }
}

fn of(def: &ExperimentDef, dedupe: Dedupe, exposed: i64, conversions: &[i64]) -> TrialState {
    let mut trial = TrialState::default();
    trial.expose(at(exposed), 1, Moment::default());
    conversions.iter().for_each(|t| trial.convert(def, dedupe, at(*t), Some(Micros(t * 10))));
    trial
}

#[test]
fn what_counts_lies_after_the_exposure_and_within_the_window() {
    let trial = of(&def(None), Dedupe::Every, 100, &[99, 100, 101, 300, 200]);
    assert_eq!((trial.conversions(), trial.value(), trial.first_conversion()), (3, 6010, Some(at(101))));
    let trial = of(&def(Some(50)), Dedupe::Every, 100, &[101, 149, 150, 200]);
    assert_eq!((trial.conversions(), trial.value()), (2, 2500), "the window is half-open");
    let nobody = TrialState::default();
    let mut trial = nobody.clone();
    trial.convert(&def(None), Dedupe::Every, at(5), None);
    assert_eq!(trial, nobody, "who was not exposed is not counted");
}

#[test]
fn once_per_profile_is_the_first_after_the_exposure_in_any_order() {
    for order in [[110, 120, 130], [130, 120, 110], [120, 130, 110]] {
        let trial = of(&def(None), Dedupe::OncePerProfile, 100, &order);
        assert_eq!((trial.conversions(), trial.value(), trial.first_conversion()), (1, 1100, Some(at(110))), "{order:?}");
    }
}

#[test]
fn the_first_exposure_decides() {
    let mut trial = TrialState::default();
    assert!(!trial.expose(at(100), 0, at(90)).needs_history);
    assert!(!trial.expose(at(110), 0, at(105)).needs_history, "a second exposure changes nothing");
    assert!(!trial.is_mixed());
    assert!(!trial.expose(at(120), Arm::HOLDOUT, at(90)).needs_history);
    assert!(trial.is_mixed());
    assert_eq!(trial.exposure(), Some(Exposure { moment: at(100), variant: 0 }));
    // An earlier one that turns up later makes what was in between count: the log is folded.
    assert!(trial.expose(at(50), 1, at(90)).needs_history);
    assert_eq!(trial.exposure(), Some(Exposure { moment: at(50), variant: 1 }));
}
