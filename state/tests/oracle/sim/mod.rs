//! Everything at once: people who are tracked, identified, merged and told apart again, whose events come
//! late, twice or leave, under definitions that change, over crashes and long pauses. After every step every
//! value and every membership is the one that the naive recomputation gives, and what was told about
//! entering and leaving is what it gives for every instant since the step before.

mod cases;
mod defs;
mod naive;
mod run;
mod steps;
mod world;

use self::defs::{Defs, defs};
use self::run::Sim;
use self::steps::{Step, step};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::cell::Cell;

fn play(defs: Defs, steps: &[Step]) {
    let mut sim = Sim::new(defs);
    for step in steps {
        sim.step(step);
    }
}

/// F-1, F-2, T-34, T-36, T-43, T-53 to T-58, T-96.
#[test]
fn everything_equals_the_oracle() {
    let config = ProptestConfig { failure_persistence: None, max_shrink_iters: 20_000, ..ProptestConfig::default() };
    let taken = Cell::new(0);
    let histories = (defs(), prop::collection::vec(step(), 1..80));
    let outcome = TestRunner::new(config).run(&histories, |(defs, steps)| {
        play(defs, &steps);
        taken.set(taken.get() + steps.len());
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
    println!("{} generated steps, each of them equal to the oracle", taken.get());
}
