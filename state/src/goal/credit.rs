//! Who is credited for a conversion, and with how much.
//!
//! Money and conversions are counted in whole millionths. A share is the whole part of an equal division,
//! and what is left over goes to the latest, so that the shares of one conversion add up to it exactly.

use crate::ids::{ActionSlot, ChannelSlot};
use crate::value::Value;
use serde::{Deserialize, Serialize};

/// An amount in millionths: of a currency's unit, or of a conversion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Micros(pub i64);

impl Micros {
    /// One whole.
    pub const ONE: Self = Self(1_000_000);
    /// The most that an amount can be, in wholes.
    pub const WHOLES_MAX: f64 = 9e12;

    /// The amount that a number says, rounded to the nearest millionth; beyond nine million million it is
    /// that much. `None` for what is no number.
    #[must_use]
    pub fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Int(whole) => Some(Self(whole.clamp(&-9_000_000_000_000, &9_000_000_000_000) * 1_000_000)),
            #[expect(clippy::cast_possible_truncation, reason = "the range is clamped")]
            Value::Float(number) if number.is_finite() => {
                Some(Self((number.clamp(-Self::WHOLES_MAX, Self::WHOLES_MAX) * 1e6).round() as i64))
            }
            _ => None,
        }
    }
}

/// How the credit for a conversion is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Model {
    /// All to the latest touch.
    LastTouch,
    /// All to the earliest touch.
    FirstTouch,
    /// The same to each touch.
    Linear,
    /// The same to each action, however often it touched.
    LinearActions,
}

impl Model {
    /// The models by their words.
    pub const WORDS: [(&'static str, Self); 4] = [
        ("last_touch", Self::LastTouch),
        ("first_touch", Self::FirstTouch),
        ("linear", Self::Linear),
        ("linear_actions", Self::LinearActions),
    ];

    /// By the word of definitions and questions.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::WORDS.into_iter().find(|(name, _)| *name == word).map(|(_, model)| model)
    }

    /// The word of definitions and questions.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::LastTouch => "last_touch",
            Self::FirstTouch => "first_touch",
            Self::Linear => "linear",
            Self::LinearActions => "linear_actions",
        }
    }
}

/// The touches of one action on one channel that a conversion saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Whose.
    pub action: ActionSlot,
    /// Where.
    pub channel: ChannelSlot,
    /// How many; at least 1, at most [`super::TOUCHES_MAX`].
    pub touches: u16,
}

/// All touches that a conversion saw. Empty: it is credited to nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// In the order of the latest touch of each.
    groups: Box<[Group]>,
    /// The group of the earliest touch.
    first: u16,
}

impl Seen {
    /// Groups touches, given in order.
    #[must_use]
    pub fn of(touches: impl Iterator<Item = (ActionSlot, ChannelSlot)>) -> Self {
        let mut groups: Vec<Group> = Vec::new();
        let mut first = None;
        for (action, channel) in touches {
            first.get_or_insert((action, channel));
            let have = groups.iter().position(|group| (group.action, group.channel) == (action, channel));
            let mut group = have.map_or(Group { action, channel, touches: 0 }, |at| groups.remove(at));
            group.touches = group.touches.saturating_add(1);
            groups.push(group);
        }
        let first = first.and_then(|key| groups.iter().position(|group| (group.action, group.channel) == key));
        Self { groups: groups.into(), first: first.and_then(|at| u16::try_from(at).ok()).unwrap_or(0) }
    }

    /// Whether there were none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// How many touches.
    #[must_use]
    pub fn touches(&self) -> u64 {
        self.groups.iter().map(|group| u64::from(group.touches)).sum()
    }

    /// Gives `amount` to the groups by `model`. Calls `f` with each group that gets a share, which may be
    /// nothing where there is nothing to share; the shares add up to `amount`.
    ///
    /// Under [`Model::LinearActions`] an action's share stands with the channel of its latest touch.
    pub fn share(&self, model: Model, amount: Micros, f: &mut dyn FnMut(Group, Micros)) {
        let Some(last) = self.groups.last() else { return };
        match model {
            Model::LastTouch => f(*last, amount),
            Model::FirstTouch => f(self.groups[usize::from(self.first)], amount),
            Model::Linear => {
                let parts = i64::try_from(self.touches()).unwrap_or(i64::MAX);
                let (each, rest) = (amount.0 / parts, amount.0 % parts);
                for (at, group) in self.groups.iter().enumerate() {
                    let rest = if at + 1 == self.groups.len() { rest } else { 0 };
                    f(*group, Micros(each * i64::from(group.touches) + rest));
                }
            }
            Model::LinearActions => {
                let latest = |at: usize, group: &Group| self.groups[at + 1..].iter().all(|later| later.action != group.action);
                let actions: Vec<Group> =
                    self.groups.iter().enumerate().filter(|(at, group)| latest(*at, group)).map(|(_, group)| *group).collect();
                let parts = i64::try_from(actions.len()).unwrap_or(i64::MAX);
                let (each, rest) = (amount.0 / parts, amount.0 % parts);
                for (at, group) in actions.iter().enumerate() {
                    f(*group, Micros(each + if at + 1 == actions.len() { rest } else { 0 }));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: ActionSlot = ActionSlot(1);
    const Y: ActionSlot = ActionSlot(2);
    const Z: ActionSlot = ActionSlot(3);
    const WEB: ChannelSlot = ChannelSlot(0);
    const APP: ChannelSlot = ChannelSlot(1);

    fn shares(touches: &[(ActionSlot, ChannelSlot)], model: Model, amount: i64) -> Vec<(u32, i64)> {
        let mut shares = Vec::new();
        Seen::of(touches.iter().copied()).share(model, Micros(amount), &mut |group, share| {
            shares.push((group.action.0, share.0));
        });
        shares
    }

    /// T-91: accept X, accept Y, buy 90.
    #[test]
    fn each_model_credits_as_it_says() {
        let touches = [(X, WEB), (Y, WEB)];
        for (model, expect) in [
            (Model::LastTouch, vec![(2, 90_000_000)]),
            (Model::FirstTouch, vec![(1, 90_000_000)]),
            (Model::Linear, vec![(1, 45_000_000), (2, 45_000_000)]),
            (Model::LinearActions, vec![(1, 45_000_000), (2, 45_000_000)]),
        ] {
            assert_eq!(shares(&touches, model, 90_000_000), expect, "{}", model.word());
        }
    }

    /// T-93: 100 over three touches, what is left over goes to the latest.
    #[test]
    fn the_latest_gets_what_is_left_over() {
        let touches = [(X, WEB), (Y, WEB), (Z, WEB)];
        assert_eq!(shares(&touches, Model::Linear, 100_000_000), [(1, 33_333_333), (2, 33_333_333), (3, 33_333_334)]);
        // The latest touch is X's second one, so the rest is X's.
        let again = [(X, WEB), (Y, WEB), (X, WEB)];
        assert_eq!(shares(&again, Model::Linear, 100_000_000), [(2, 33_333_333), (1, 66_666_667)]);
        assert_eq!(shares(&again, Model::LinearActions, 99_999_999), [(2, 49_999_999), (1, 50_000_000)]);
        assert_eq!(shares(&again, Model::FirstTouch, 5), [(1, 5)]);
        // Taken back, a refund of 100 splits the same way.
        assert_eq!(shares(&touches, Model::Linear, -100_000_000), [(1, -33_333_333), (2, -33_333_333), (3, -33_333_334)]);
    }

    #[test]
    fn an_action_on_two_channels_is_one_action() {
        let touches = [(X, WEB), (Y, WEB), (X, APP)];
        let mut shares = Vec::new();
        Seen::of(touches.iter().copied()).share(Model::LinearActions, Micros(10), &mut |group, share| {
            shares.push((group.action, group.channel, share.0));
        });
        assert_eq!(shares, [(Y, WEB, 5), (X, APP, 5)]);
    }

    #[test]
    fn amounts_are_rounded_to_millionths_and_bounded() {
        for (value, micros) in [
            (Value::Int(90), Some(90_000_000)),
            (Value::Float(0.1), Some(100_000)),
            (Value::Float(33.333_333_4), Some(33_333_333)),
            (Value::Float(-19.99), Some(-19_990_000)),
            (Value::Float(1e300), Some(9_000_000_000_000_000_000)),
            (Value::Int(i64::MIN), Some(-9_000_000_000_000_000_000)),
            (Value::Str("90".into()), None),
        ] {
            assert_eq!(Micros::of(&value), micros.map(Micros), "{value:?}");
        }
    }
}
