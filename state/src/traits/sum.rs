//! Exact sums: the same in every order, and what was added can be taken out again without drift.

use crate::value::Value;
use serde::{Deserialize, Serialize};

/// Units of the scaled part in one whole.
const SCALE: i128 = 1_000_000_000;
/// Decimals of the scaled part.
const SCALE_DIGITS: usize = 9;
/// Values below this have a scaled form; 10^9 times it, more than 10^9 of them fit an i128.
const SCALED_MAX: f64 = 1e20;
/// The weight of the lowest bit of [`Wide`] is two to the minus this: the smallest double.
const LOW: usize = 1074;
/// Doubles span 2098 bits; the rest is room for 2^63 of them, and a sign.
const LIMBS: usize = 34;

/// An exact sum of numbers, at most 312 bytes.
///
/// A number with at most nine decimals and below 10^20 is added as that decimal, in units of 10^-9, so
/// ten times `0.1` is `1`. Any other double is added bit for bit into a fixed-point number as wide as
/// the whole range of doubles. Both parts are integers: the order of additions cannot matter, an
/// intermediate sum cannot overflow, and equal sums are equal states.
///
/// # Reference
/// The wide part is Kulisch's long accumulator ("Computer Arithmetic and Validity", 2008).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    /// High and low half of an i128, which itself would align every trait state to 16 bytes.
    scaled: (i64, u64),
    wide: Option<Box<Wide>>,
}

/// Two's complement, least significant limb first, [`LIMBS`] limbs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Wide(Vec<u64>);

impl Sum {
    /// Adds a number; anything else is ignored.
    pub fn add(&mut self, value: &Value) {
        self.put(value, false);
    }

    /// Takes out a number that was added.
    pub fn subtract(&mut self, value: &Value) {
        self.put(value, true);
    }

    /// Adds another sum.
    pub fn merge(&mut self, other: &Self) {
        self.set_scaled(self.scaled().saturating_add(other.scaled()));
        if let Some(wide) = &other.wide {
            self.wide.get_or_insert_with(|| Box::new(Wide::zero())).add_limbs(&wide.0, 0, false);
            self.drop_zero();
        }
    }

    /// The sum divided by `count`, rounded to three decimals, half away from zero. `None` when that is
    /// beyond the range of a double. A `count` of 0 reads as 1.
    #[must_use]
    pub fn mean(&self, count: u64) -> Option<Value> {
        let count = count.max(1);
        match &self.wide {
            None => Some(from_thousandths(div_half_away(self.scaled(), i128::from(count) * (SCALE / 1000)))),
            Some(wide) => wide.mean(self.scaled(), count),
        }
    }

    /// The sum, rounded like [`Sum::mean`].
    #[must_use]
    pub fn total(&self) -> Option<Value> {
        self.mean(1)
    }

    fn put(&mut self, value: &Value, negate: bool) {
        let scaled = match value {
            Value::Int(int) => Some(i128::from(*int) * SCALE),
            Value::Float(float) => scaled(*float),
            _ => return,
        };
        match (scaled, value) {
            // Saturation would take more than 10^9 contributors of the greatest size in one profile.
            (Some(scaled), _) if negate => self.set_scaled(self.scaled().saturating_sub(scaled)),
            (Some(scaled), _) => self.set_scaled(self.scaled().saturating_add(scaled)),
            (None, Value::Float(float)) if float.is_finite() => {
                self.wide.get_or_insert_with(|| Box::new(Wide::zero())).add_double(*float, negate);
                self.drop_zero();
            }
            _ => {}
        }
    }

    fn scaled(&self) -> i128 {
        i128::from(self.scaled.0) << 64 | i128::from(self.scaled.1)
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the two halves")]
    fn set_scaled(&mut self, scaled: i128) {
        self.scaled = ((scaled >> 64) as i64, scaled as u64);
    }

    /// Zero has one form, so that equal sums compare equal.
    fn drop_zero(&mut self) {
        if self.wide.as_ref().is_some_and(|wide| wide.0.iter().all(|limb| *limb == 0)) {
            self.wide = None;
        }
    }
}

/// A number rounded to three decimals, half away from zero, and as an integer where it is one: the form
/// in which users see every aggregation. `None` for anything but a finite number.
#[must_use]
pub fn rounded(value: &Value) -> Option<Value> {
    match value {
        Value::Int(_) => Some(value.clone()),
        Value::Float(float) if float.is_finite() => match scaled(*float) {
            Some(scaled) => Some(from_thousandths(div_half_away(scaled, SCALE / 1000))),
            None => {
                let mut sum = Sum::default();
                sum.add(value);
                sum.total()
            }
        },
        _ => None,
    }
}

/// The double as a decimal in units of 10^-9, if its shortest decimal form has at most nine decimals.
fn scaled(float: f64) -> Option<i128> {
    /// Below this many units two decimals of nine places cannot share a double, and rounding the product
    /// finds the right one.
    const UNITS_MAX: f64 = (1_u64 << 51) as f64;
    let units = (float * 1e9).round();
    if units.abs() < UNITS_MAX {
        #[expect(clippy::cast_possible_truncation, reason = "below 2^51")]
        return (units / 1e9 == float).then_some(units as i128);
    }
    if float.is_nan() || float.abs() >= SCALED_MAX { None } else { parse_scaled(&float.to_string()) }
}

fn parse_scaled(text: &str) -> Option<i128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let decimals = fraction.len();
    if decimals > SCALE_DIGITS {
        return None;
    }
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let missing = u32::try_from(SCALE_DIGITS - decimals).ok()?;
    digits.checked_mul(10_i128.pow(missing))
}

fn div_half_away(number: i128, by: i128) -> i128 {
    let (whole, rest) = (number / by, number % by);
    // Compared without doubling, which could overflow.
    if rest.abs() >= by - rest.abs() { whole + number.signum() } else { whole }
}

fn from_thousandths(thousandths: i128) -> Value {
    /// Integers up to here are doubles exactly, and their quotient is correctly rounded.
    const EXACT: i128 = 1 << 53;
    if thousandths % 1000 == 0
        && let Ok(int) = i64::try_from(thousandths / 1000)
    {
        return Value::Int(int);
    }
    if thousandths.abs() < EXACT {
        #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
        return Value::Float(thousandths as f64 / 1000.0);
    }
    Value::Float(format!("{thousandths}e-3").parse().unwrap_or(f64::MAX))
}

impl Wide {
    fn zero() -> Self {
        Self(vec![0; LIMBS])
    }

    fn add_double(&mut self, float: f64, negate: bool) {
        let bits = float.to_bits();
        let exponent = usize::try_from(bits >> 52 & 0x7ff).unwrap_or(0);
        let fraction = bits & ((1 << 52) - 1);
        // A subnormal has no hidden bit and the exponent of the smallest normal.
        let (mantissa, at) = if exponent == 0 { (fraction, 0) } else { (fraction | 1 << 52, exponent - 1) };
        let shifted = u128::from(mantissa) << (at % 64);
        #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
        let limbs = [shifted as u64, (shifted >> 64) as u64];
        self.add_limbs(&limbs, at / 64, negate != float.is_sign_negative());
    }

    /// Adds or subtracts `limbs` from limb `at` on, wrapping in two's complement. A full-width operand is
    /// two's complement itself; a shorter one is a magnitude.
    fn add_limbs(&mut self, limbs: &[u64], at: usize, subtract: bool) {
        let mut carry = false;
        for (i, limb) in self.0.iter_mut().enumerate().skip(at) {
            let operand = limbs.get(i - at).copied().unwrap_or(0);
            if i - at >= limbs.len() && !carry {
                break;
            }
            (*limb, carry) = if subtract { limb.borrowing(operand, carry) } else { limb.carrying(operand, carry) };
        }
    }

    fn mean(&self, scaled: i128, count: u64) -> Option<Value> {
        let mut magnitude = self.0.clone();
        let negative = magnitude[LIMBS - 1] >> 63 == 1;
        if negative {
            negate(&mut magnitude);
        }
        // N = wide * 10^9 + scaled * 2^1074, in units of 2^-1074 * 10^-9; then thousandths are N / D with
        // D = 10^6 * count * 2^1074, and rounding half away from zero is floor((2 |N| + D) / 2 D).
        magnitude.resize(LIMBS + 3, 0);
        multiply(&mut magnitude, SCALE.unsigned_abs() as u64);
        let mut other = shifted(scaled.unsigned_abs(), LOW, magnitude.len());
        let negative = if negative == (scaled < 0) {
            add(&mut magnitude, &other);
            negative
        } else if magnitude.iter().rev().ge(other.iter().rev()) {
            subtract(&mut magnitude, &other);
            negative
        } else {
            subtract(&mut other, &magnitude);
            magnitude = other;
            scaled < 0
        };
        multiply(&mut magnitude, 2);
        let divisor = 1_000_000 * u128::from(count);
        let half = shifted(divisor, LOW, magnitude.len());
        add(&mut magnitude, &half);
        shift_right(&mut magnitude, LOW + 1);
        divide(&mut magnitude, 1_000_000);
        divide(&mut magnitude, count);
        let value = match small(&magnitude) {
            Some(thousandths) if negative => from_thousandths(-thousandths),
            Some(thousandths) => from_thousandths(thousandths),
            None => {
                let inexact = divide(&mut magnitude, 1000) != 0;
                let float = to_double(&magnitude, inexact);
                Value::Float(if negative { -float } else { float })
            }
        };
        value.as_f64().is_some_and(f64::is_finite).then_some(value)
    }
}

/// Limbs with carries in and out, which the standard library does not have in stable Rust yet.
trait Limb: Sized {
    fn carrying(self, other: Self, carry: bool) -> (Self, bool);
    fn borrowing(self, other: Self, borrow: bool) -> (Self, bool);
}

impl Limb for u64 {
    fn carrying(self, other: Self, carry: bool) -> (Self, bool) {
        let (sum, over) = self.overflowing_add(other);
        let (sum, again) = sum.overflowing_add(Self::from(carry));
        (sum, over || again)
    }

    fn borrowing(self, other: Self, borrow: bool) -> (Self, bool) {
        let (rest, under) = self.overflowing_sub(other);
        let (rest, again) = rest.overflowing_sub(Self::from(borrow));
        (rest, under || again)
    }
}

fn negate(limbs: &mut [u64]) {
    let mut carry = true;
    for limb in limbs {
        (*limb, carry) = (!*limb).carrying(0, carry);
    }
}

fn add(limbs: &mut [u64], other: &[u64]) {
    let mut carry = false;
    for (limb, other) in limbs.iter_mut().zip(other) {
        (*limb, carry) = limb.carrying(*other, carry);
    }
}

fn subtract(limbs: &mut [u64], other: &[u64]) {
    let mut borrow = false;
    for (limb, other) in limbs.iter_mut().zip(other) {
        (*limb, borrow) = limb.borrowing(*other, borrow);
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the two halves of a product")]
fn multiply(limbs: &mut [u64], by: u64) {
    let mut carry = 0_u128;
    for limb in limbs {
        let product = u128::from(*limb) * u128::from(by) + carry;
        *limb = product as u64;
        carry = product >> 64;
    }
}

/// Divides in place and returns the remainder.
#[expect(clippy::cast_possible_truncation, reason = "quotient and remainder of a limb fit a limb")]
fn divide(limbs: &mut [u64], by: u64) -> u64 {
    let mut rest = 0_u128;
    for limb in limbs.iter_mut().rev() {
        let part = rest << 64 | u128::from(*limb);
        *limb = (part / u128::from(by)) as u64;
        rest = part % u128::from(by);
    }
    rest as u64
}

#[expect(clippy::cast_possible_truncation, reason = "limbs are cut out one by one")]
fn shifted(number: u128, by: usize, limbs: usize) -> Vec<u64> {
    let mut out = vec![0; limbs];
    let (at, bits) = (by / 64, by % 64);
    out[at] = (number << bits) as u64;
    out[at + 1] = (number >> (64 - bits)) as u64;
    out[at + 2] = (number >> 64 >> (64 - bits)) as u64;
    out
}

fn shift_right(limbs: &mut [u64], by: usize) {
    let (skip, bits) = (by / 64, by % 64);
    for i in 0..limbs.len() {
        let low = limbs.get(i + skip).copied().unwrap_or(0);
        let high = limbs.get(i + skip + 1).copied().unwrap_or(0);
        limbs[i] = if bits == 0 { low } else { low >> bits | high << (64 - bits) };
    }
}

/// The number, if it fits 126 bits.
fn small(limbs: &[u64]) -> Option<i128> {
    let fits = limbs[1] >> 62 == 0 && limbs[2..].iter().all(|limb| *limb == 0);
    fits.then(|| i128::from(limbs[1]) << 64 | i128::from(limbs[0]))
}

/// The nearest double, ties to even; `inexact` says that something non-zero was cut off below.
fn to_double(limbs: &[u64], inexact: bool) -> f64 {
    let Some(top) = limbs.iter().rposition(|limb| *limb != 0) else { return 0.0 };
    let bits = top * 64 + 64 - limbs[top].leading_zeros() as usize;
    let low = bits.saturating_sub(64);
    let mut head = limbs.to_vec();
    shift_right(&mut head, low);
    let cut = inexact || (0..low).any(|bit| limbs[bit / 64] >> (bit % 64) & 1 == 1);
    // 64 bits hold a double's 53 with room to spare, so what was cut only has to break a tie.
    #[expect(clippy::cast_precision_loss, reason = "this is the rounding")]
    let head = (head[0] | u64::from(cut)) as f64;
    head * 2_f64.powi(i32::try_from(low).unwrap_or(i32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sum(values: &[f64]) -> Sum {
        let mut sum = Sum::default();
        values.iter().for_each(|v| sum.add(&Value::Float(*v)));
        sum
    }

    fn total(values: &[f64]) -> Option<Value> {
        sum(values).total()
    }

    #[test]
    fn t_17_tenths_and_large_numbers_add_up_exactly() {
        assert_eq!(total(&[0.1; 10]), Some(Value::Int(1)));
        for order in [[1e16, 1.0, -1e16], [1.0, 1e16, -1e16], [-1e16, 1e16, 1.0]] {
            assert_eq!(total(&order), Some(Value::Int(1)));
        }
        // The same beyond the scaled range, where only the wide part can hold it.
        for order in [[1e200, 1.0, -1e200], [1.0, 1e200, -1e200], [-1e200, 1e200, 1.0]] {
            assert_eq!(total(&order), Some(Value::Int(1)));
        }
    }

    #[test]
    fn t_18_t_19_rounds_half_away_from_zero() {
        assert_eq!(sum(&[1.0, 2.0, 2.0]).mean(3), Some(Value::Float(1.667)));
        assert_eq!(total(&[1.0005]), Some(Value::Float(1.001)));
        assert_eq!(total(&[-1.0005]), Some(Value::Float(-1.001)));
        assert_eq!(total(&[1.000_499_999_9]), Some(Value::Int(1)));
        // Seventeen decimals: the wide part, whose fraction is just above and just below a half.
        assert_eq!(total(&[0.000_500_000_000_000_000_1]), Some(Value::Float(0.001)));
        assert_eq!(total(&[-0.000_500_000_000_000_000_1]), Some(Value::Float(-0.001)));
        assert_eq!(total(&[0.000_499_999_999_999_999_9]), Some(Value::Int(0)));
    }

    #[test]
    fn overflow_is_absent_but_only_at_the_end() {
        assert_eq!(total(&[f64::MAX, f64::MAX]), None);
        assert_eq!(total(&[-f64::MAX, -f64::MAX]), None);
        assert_eq!(total(&[f64::MAX, f64::MAX, -f64::MAX]), Some(Value::Float(f64::MAX)));
        assert_eq!(sum(&[f64::MAX, f64::MAX]).mean(2), Some(Value::Float(f64::MAX)));
    }

    #[test]
    fn integers_stay_exact_beyond_doubles() {
        let mut sum = Sum::default();
        sum.add(&Value::Int(i64::MAX));
        sum.add(&Value::Int(-1));
        assert_eq!(sum.total(), Some(Value::Int(i64::MAX - 1)));
        sum.add(&Value::Int(i64::MAX));
        assert_eq!(sum.total(), Some(Value::Float(18_446_744_073_709_551_613.0)));
    }

    #[test]
    fn text_is_not_summed() {
        let mut sum = Sum::default();
        sum.add(&Value::from("5"));
        assert_eq!(sum, Sum::default());
    }

    fn any_number() -> impl Strategy<Value = f64> {
        prop_oneof![
            (-1_000_000_i64..1_000_000, 0_u32..10).prop_map(|(n, d)| n as f64 / 10_f64.powi(d as i32)),
            any::<f64>().prop_filter("finite", |f| f.is_finite()),
            (-1e25..1e25_f64),
        ]
    }

    proptest! {
        #[test]
        fn order_does_not_matter(values in prop::collection::vec(any_number(), 0..20), turn in 0_usize..20) {
            let mut turned = values.clone();
            turned.rotate_left(turn.min(values.len()));
            turned.reverse();
            prop_assert_eq!(sum(&values), sum(&turned));
        }

        #[test]
        fn taking_out_leaves_nothing_behind(kept in prop::collection::vec(any_number(), 0..9), gone in prop::collection::vec(any_number(), 0..9)) {
            let mut all = sum(&kept);
            gone.iter().for_each(|v| all.add(&Value::Float(*v)));
            gone.iter().for_each(|v| all.subtract(&Value::Float(*v)));
            prop_assert_eq!(all, sum(&kept));
        }

        #[test]
        fn merging_is_adding(a in prop::collection::vec(any_number(), 0..9), b in prop::collection::vec(any_number(), 0..9)) {
            let mut merged = sum(&a);
            merged.merge(&sum(&b));
            prop_assert_eq!(merged, sum(&[a, b].concat()));
        }

        #[test]
        fn one_double_is_itself_to_three_decimals(value in any_number()) {
            let seen = rounded(&Value::Float(value)).unwrap().as_f64().unwrap();
            let tolerance = if value.abs() < 1e12 { 0.000_500_1 } else { value.abs() * 1e-15 };
            prop_assert!((seen - value).abs() <= tolerance, "{} became {}", value, seen);
        }
    }
}
