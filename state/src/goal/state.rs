//! What one profile holds of one goal.

use super::{Dedupe, GoalDef, Micros, Seen};
use crate::ids::{ActionSlot, ChannelSlot, Millis, Moment};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Touches kept of a goal, the newest; 24 B each. A conversion sees no more than these.
pub const TOUCHES_MAX: usize = 256;
/// Conversions kept of a goal, the newest.
pub const CONVERSIONS_MAX: usize = 1024;

/// A reaction that may be credited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touch {
    /// When.
    pub moment: Moment,
    /// To which action.
    pub action: ActionSlot,
    /// Where.
    pub channel: ChannelSlot,
}

/// An event that the goal names and whose conditions held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conversion {
    /// When.
    pub moment: Moment,
    /// What it is worth, if anything is said.
    pub value: Option<Micros>,
    /// False for one that [`Dedupe::OncePerTouch`] leaves out.
    pub counted: bool,
    /// Who is credited; nobody if it is empty.
    pub seen: Seen,
}

/// What taking something in needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fed {
    /// It came late and what was kept does not reach back: fold the log again.
    pub needs_history: bool,
}

/// Touches and conversions in `(t, seq)` order, with the groups of touches that each conversion saw.
///
/// Equal to the fold of the profile's log whatever order it came in: while nothing was dropped a late
/// touch or conversion is put in its place and what follows it is worked out again; afterwards the caller
/// folds the log.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GoalState {
    touches: VecDeque<Touch>,
    conversions: VecDeque<Conversion>,
    /// The latest conversion that counted and was credited to somebody, for [`Dedupe::OncePerTouch`].
    credited: Option<Moment>,
    touches_dropped: u64,
    conversions_dropped: u64,
}

const IN_TIME: Fed = Fed { needs_history: false };

impl GoalState {
    /// The touches kept, in order.
    pub fn touches(&self) -> impl DoubleEndedIterator<Item = &Touch> {
        self.touches.iter()
    }

    /// The conversions kept that count, in order.
    pub fn conversions(&self) -> impl DoubleEndedIterator<Item = &Conversion> {
        self.conversions.iter().filter(|conversion| conversion.counted)
    }

    /// Touches and conversions that are not kept any more.
    #[must_use]
    pub fn dropped(&self) -> (u64, u64) {
        (self.touches_dropped, self.conversions_dropped)
    }

    /// The touch that would be credited with all of a conversion at `t` by [`super::Model::LastTouch`],
    /// if what is logged so far is all there is.
    #[must_use]
    pub fn last_touch(&self, def: &GoalDef, t: Millis) -> Option<&Touch> {
        self.touches.back().filter(|touch| t < def.expires(touch.moment.t))
    }

    /// Takes in a touch.
    pub fn touch(&mut self, def: &GoalDef, touch: Touch) -> Fed {
        let late = touch.moment < self.newest();
        if late && !self.is_whole() {
            return Fed { needs_history: true };
        }
        let at = self.touches.partition_point(|other| other.moment <= touch.moment);
        self.touches.insert(at, touch);
        if late {
            self.again(def, touch.moment, true);
        }
        self.bound();
        IN_TIME
    }

    /// Takes in a conversion.
    pub fn convert(&mut self, def: &GoalDef, moment: Moment, value: Option<Micros>) -> Fed {
        let late = moment < self.newest();
        if def.dedupe == Dedupe::OncePerProfile {
            match self.conversions.front() {
                Some(first) if first.moment < moment => return IN_TIME,
                _ if late && !self.is_whole() => return Fed { needs_history: true },
                _ => self.conversions.clear(),
            }
        } else if late && !self.is_whole() {
            return Fed { needs_history: true };
        }
        let at = self.conversions.partition_point(|other| other.moment <= moment);
        self.conversions.insert(at, Conversion { moment, value, counted: true, seen: Seen::default() });
        self.again(def, moment, late);
        self.bound();
        IN_TIME
    }

    /// The newest thing taken in: what lies before it is late.
    fn newest(&self) -> Moment {
        let touch = self.touches.back().map(|touch| touch.moment);
        let conversion = self.conversions.back().map(|conversion| conversion.moment);
        touch.max(conversion).unwrap_or_default()
    }

    /// Whether everything that ever was is here.
    fn is_whole(&self) -> bool {
        self.touches_dropped == 0 && self.conversions_dropped == 0
    }

    /// Works out who is credited for every conversion from `from` on.
    fn again(&mut self, def: &GoalDef, from: Moment, late: bool) {
        let start = self.conversions.partition_point(|conversion| conversion.moment < from);
        if late {
            let earlier = self.conversions.range(..start);
            let credited = earlier.rev().find(|earlier| earlier.counted && !earlier.seen.is_empty());
            self.credited = credited.map(|conversion| conversion.moment);
        }
        for at in start..self.conversions.len() {
            let moment = self.conversions[at].moment;
            let before = self.touches.partition_point(|touch| touch.moment < moment);
            let gone = self.touches.partition_point(|touch| def.expires(touch.moment.t) <= moment.t);
            let seen = gone.max(before.saturating_sub(TOUCHES_MAX)).min(before)..before;
            let fresh = match self.credited.filter(|_| def.dedupe == Dedupe::OncePerTouch) {
                Some(credited) => {
                    seen.start.max(self.touches.partition_point(|touch| touch.moment < credited)).min(before)..before
                }
                None => seen.clone(),
            };
            let counted = seen.is_empty() || !fresh.is_empty();
            let credits = Seen::of(self.touches.range(fresh).map(|touch| (touch.action, touch.channel)));
            if counted && !credits.is_empty() {
                self.credited = Some(moment);
            }
            self.conversions[at].counted = counted;
            self.conversions[at].seen = credits;
        }
    }

    fn bound(&mut self) {
        if self.touches.len() > TOUCHES_MAX {
            self.touches.pop_front();
            self.touches_dropped += 1;
        }
        if self.conversions.len() > CONVERSIONS_MAX {
            self.conversions.pop_front();
            self.conversions_dropped += 1;
        }
    }
}

#[cfg(test)]
mod tests;
