//! What a rule measures.

use crate::ids::TraitSlot;
use crate::traits::TraitDef;
use crate::value::Value;

/// The number that a rule looks at.
#[derive(Clone, Debug)]
pub enum Metric {
    /// An aggregate of the events of one kind, kept by the rule itself.
    Events(Box<TraitDef>),
    /// A computed trait as users see it.
    Trait {
        /// Which one.
        slot: TraitSlot,
    },
    /// A computed trait that does not exist (any more): always absent.
    Nothing,
}

impl Metric {
    /// The aggregate's definition, if the rule keeps one.
    #[must_use]
    pub fn events(&self) -> Option<&TraitDef> {
        match self {
            Self::Events(def) => Some(def),
            Self::Trait { .. } | Self::Nothing => None,
        }
    }
}

/// How many whole times `n` goes into `metric`: 0 below `n`, and for what is no number. Exact for integers
/// and for numbers of at most three decimals below 2^53 thousandths.
pub(super) fn multiple(metric: &Value, n: &Value) -> i64 {
    if let (Value::Int(metric), Value::Int(n)) = (metric, n) {
        return if *n > 0 { metric.div_euclid(*n).max(0) } else { 0 };
    }
    match (metric.as_f64(), n.as_f64()) {
        (Some(metric), Some(n)) if n > 0.0 => whole_times(metric, n),
        _ => 0,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "bounded before it is cut")]
fn whole_times(metric: f64, n: f64) -> i64 {
    /// Thousandths up to here are whole in a double.
    const EXACT: f64 = 9e15;
    let (a, b) = ((metric * 1000.0).round(), (n * 1000.0).round());
    let times = if a.abs() < EXACT && (1.0..EXACT).contains(&b) { (a / b).floor() } else { (metric / n).floor() };
    // 9.2e18 is the greatest double below 2^63 that is written short.
    times.clamp(0.0, 9.2e18) as i64
}
