//! Comparing arms so that looking often does no harm.
//!
//! An interval of the textbook is right once, at a size fixed beforehand; whoever looks at it every day and
//! stops when it is clear is wrong far more often than it says. The intervals here are *confidence sequences*:
//! with the stated confidence the truth lies in all of them, at every size, so that one may look at any time
//! and stop at any time.
//!
//! # Formula
//! With `n` people in two arms, `V` the estimated variance of the estimate (that of a difference of means is
//! `s₁²/n₁ + s₀²/n₀`, where no `s` is taken to be below that of both arms together), and `α` one less the
//! confidence, the half width is
//!
//! ```text
//! √V · √( 2·(n·ρ² + 1)/(n·ρ²) · ln( √(n·ρ² + 1) / α ) )        ρ² = (−2·ln α + ln(1 − 2·ln α)) / n*
//! ```
//!
//! the asymptotic form of Robbins' normal mixture. It holds whatever `ρ` is; this one makes it narrowest near
//! `n*` = [`NARROWEST`] people. There it is 1.55 times as wide as an interval that may be looked at once, for
//! `α` = 0.05.
//! The relative lift is the same for the logarithm of the ratio of means, whose variance is
//! `s₁²/(n₁·m₁²) + s₀²/(n₀·m₀²)` by the delta method, turned back.
//!
//! Of several variants each is compared with the control at `α` over their number (Bonferroni), so that all
//! comparisons of one experiment are right together.
//!
//! # Reference
//! Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas, "Time-uniform central limit theory and asymptotic confidence
//! sequences", Annals of Statistics 52(6), 2024, theorem 2.2 and equation 14 for `ρ`. Robbins, "Statistical
//! methods related to the law of the iterated logarithm", 1970. For [`sample_ratio`]: Lindon, Malek,
//! "Anytime-valid inference for multinomial count data", NeurIPS 2022.

/// People at which intervals are narrowest.
pub const NARROWEST: f64 = 5_000.0;
/// No interval for fewer people in an arm: the normal form is not near enough.
pub const PEOPLE_MIN: u64 = 50;
/// No interval while fewer people than this have converted in both arms together, for the same reason.
pub const CONVERTED_MIN: u64 = 10;

/// What is known of a number that each person of an arm has.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// People.
    pub people: u64,
    /// Those of them who converted.
    pub converted: u64,
    sum: f64,
    squares: f64,
}

/// An estimate and the interval around it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The estimate.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// One arm against the control.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// The arm's mean less the control's.
    pub difference: Estimate,
    /// The difference over the control's mean; `None` where that is not above 0, or the arm's is not.
    pub lift: Option<Estimate>,
}

impl Comparison {
    /// Whether the interval of the difference leaves out zero.
    #[must_use]
    pub fn is_clear(&self) -> bool {
        self.difference.low > 0.0 || self.difference.high < 0.0
    }
}

#[expect(clippy::cast_precision_loss, reason = "people and conversions are far below 2^53")]
fn real(count: u64) -> f64 {
    count as f64
}

impl Sample {
    /// Who converted, of how many: 1 for each of them, 0 for the others.
    #[must_use]
    pub fn share(people: u64, converted: u64) -> Self {
        Self { people, converted, sum: real(converted), squares: real(converted) }
    }

    /// A number per person, from its sum and the sum of its squares.
    #[must_use]
    pub fn mean(people: u64, converted: u64, sum: f64, squares: f64) -> Self {
        Self { people, converted, sum, squares }
    }

    /// The mean; 0 of nobody.
    #[must_use]
    pub fn average(&self) -> f64 {
        if self.people == 0 { 0.0 } else { self.sum / real(self.people) }
    }

    /// Of one person.
    fn variance(&self) -> f64 {
        ((self.squares - self.sum * self.average()) / (real(self.people) - 1.0)).max(0.0)
    }

    fn and(&self, other: &Self) -> Self {
        Self {
            people: self.people + other.people,
            converted: self.converted + other.converted,
            sum: self.sum + other.sum,
            squares: self.squares + other.squares,
        }
    }
}

/// The half width of an interval in standard errors of the estimate, for `people` in both arms together.
#[must_use]
pub fn width(people: u64, alpha: f64) -> f64 {
    let tightness = -2.0 * alpha.ln();
    let scaled = real(people) * (tightness + (1.0 + tightness).ln()) / NARROWEST;
    (2.0 * (scaled + 1.0) / scaled * ((scaled + 1.0).sqrt() / alpha).ln()).sqrt()
}

/// Holds `arm` against `control`. `alpha` is how often all looks together may be wrong. `None` while there are
/// too few people ([`PEOPLE_MIN`]) or conversions ([`CONVERTED_MIN`]) to tell, or no spread at all.
#[must_use]
pub fn compare(control: &Sample, arm: &Sample, alpha: f64) -> Option<Comparison> {
    if control.people.min(arm.people) < PEOPLE_MIN || control.converted + arm.converted < CONVERTED_MIN {
        return None;
    }
    // A small arm that happens to have seen little also seems to vary little: taken at its word it would be
    // sure of itself just when it is wrong. No arm is taken to vary less than both together.
    let least = control.and(arm).variance();
    let spread = |sample: &Sample| sample.variance().max(least) / real(sample.people);
    if least <= 0.0 {
        return None;
    }
    let width = width(control.people + arm.people, alpha);
    let half = width * (spread(control) + spread(arm)).sqrt();
    let value = arm.average() - control.average();
    let difference = Estimate { value, low: value - half, high: value + half };
    let lift = (control.average() > 0.0 && arm.average() > 0.0).then(|| {
        let relative = |sample: &Sample| spread(sample) / (sample.average() * sample.average());
        let half = width * (relative(control) + relative(arm)).sqrt();
        let log = (arm.average() / control.average()).ln();
        Estimate { value: log.exp() - 1.0, low: (log - half).exp() - 1.0, high: (log + half).exp() - 1.0 }
    });
    Some(Comparison { difference, lift })
}

/// How much of a surprise the sizes of the arms are: the chance that a split as intended ever looks so uneven,
/// at most. Below 0.001 somebody is lost on the way to one of the arms, and no comparison can be trusted.
///
/// `arms` is (people, intended share) of each; the shares add up to 1. One over the Bayes factor of a split
/// from a Dirichlet prior around the intended one against the intended one; it may be looked at as often as
/// one likes.
#[must_use]
pub fn sample_ratio(arms: &[(u64, f64)]) -> f64 {
    /// People that the prior is worth: it looks for a split that is off by a few in a hundred.
    const PRIOR: f64 = 1000.0;
    let people: u64 = arms.iter().map(|(people, _)| people).sum();
    let mut log = ln_gamma(PRIOR) - ln_gamma(PRIOR + real(people));
    for (people, share) in arms.iter().filter(|(_, share)| *share > 0.0) {
        let prior = PRIOR * share;
        log += ln_gamma(prior + real(*people)) - ln_gamma(prior) - real(*people) * share.ln();
    }
    (-log).exp().min(1.0)
}

/// The logarithm of the gamma function for arguments above 0, to about 1e-13 of it.
///
/// # Reference
/// Lanczos, "A precision approximation of the gamma function", 1964, with g = 7 and nine terms.
fn ln_gamma(x: f64) -> f64 {
    const FIRST: f64 = 0.999_999_999_999_809_9;
    const TERMS: [f64; 8] = [
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    if x < 0.5 {
        // Reflection; the argument stays away from whole numbers below 1.
        return (std::f64::consts::PI / (std::f64::consts::PI * x).sin()).ln() - ln_gamma(1.0 - x);
    }
    let x = x - 1.0;
    let sum = TERMS.iter().zip(1_u8..).fold(FIRST, |sum, (term, i)| sum + term / (x + f64::from(i)));
    let t = x + 7.5;
    0.5 * (2.0 * std::f64::consts::PI).ln() + (x + 0.5) * t.ln() - t + sum.ln()
}

#[cfg(test)]
mod tests;
