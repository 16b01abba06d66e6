//! What a client may send: credits, spent by messages and handed back with their answers.

use super::Micros;

/// Breaches within the window that close the socket.
const BREACHES: usize = 3;
/// The window, in milliseconds.
const WINDOW_MS: u64 = 60_000;

/// The credit of one connection. At any time `available + in flight = size`.
#[derive(Debug)]
pub struct Credit {
    available: u32,
    breaches: [Option<Micros>; BREACHES],
}

/// A frame came without credit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breach {
    /// What was left.
    pub available: u32,
    /// It was once too often: close.
    pub fatal: bool,
}

impl Credit {
    /// A connection that may have `size` messages in flight.
    #[must_use]
    pub fn new(size: u32) -> Self {
        Self { available: size, breaches: [None; BREACHES] }
    }

    /// Takes the cost of a frame, all or nothing.
    ///
    /// # Errors
    /// [`Breach`] when there is not enough; the third within a minute is fatal.
    pub fn spend(&mut self, cost: u32, now: Micros) -> Result<(), Breach> {
        if let Some(rest) = self.available.checked_sub(cost) {
            self.available = rest;
            return Ok(());
        }
        self.breaches.rotate_right(1);
        self.breaches[0] = Some(now);
        let fatal = self.breaches[BREACHES - 1].is_some_and(|first| now.since(first) <= WINDOW_MS * 1000);
        Err(Breach { available: self.available, fatal })
    }

    /// Hands back what answered messages cost.
    pub fn restore(&mut self, credit: u32) {
        self.available += credit;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i59_the_third_of_two_is_refused_and_later_accepted() {
        let mut credit = Credit::new(2);
        let now = Micros(0);
        assert_eq!(credit.spend(1, now), Ok(()));
        assert_eq!(credit.spend(1, now), Ok(()));
        assert_eq!(credit.spend(1, now), Err(Breach { available: 0, fatal: false }));
        credit.restore(2);
        assert_eq!(credit.spend(1, now), Ok(()));
    }

    #[test]
    fn a_frame_is_paid_whole_or_not_at_all() {
        let mut credit = Credit::new(2);
        assert_eq!(credit.spend(3, Micros(0)), Err(Breach { available: 2, fatal: false }));
        assert_eq!(credit.spend(2, Micros(0)), Ok(()));
    }

    #[test]
    fn three_breaches_within_a_minute_are_fatal() {
        let at = |seconds: u64| Micros(seconds * 1_000_000);
        let table = [([0, 10, 20], true), ([0, 30, 60], true), ([0, 30, 61], false)];
        for (times, fatal) in table {
            let mut credit = Credit::new(0);
            let last = times.map(|t| credit.spend(1, at(t)).unwrap_err().fatal)[2];
            assert_eq!(last, fatal, "{times:?}");
        }
        let mut credit = Credit::new(0);
        let fatal = [0, 50, 100, 105].map(|t| credit.spend(1, at(t)).unwrap_err().fatal);
        assert_eq!(fatal, [false, false, false, true], "the window slides");
    }
}
