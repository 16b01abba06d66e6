//! What a part of all profiles says of all.

/// How many were looked at, of how many.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    pub(super) looked: u64,
    pub(super) of: u64,
    pub(super) exact: bool,
}

impl Share {
    /// How many of all there are where `n` of those looked at were: the number itself, or an estimate.
    pub(super) fn whole(&self, n: u64) -> u64 {
        if self.exact || self.looked == 0 {
            return n;
        }
        let (n, of, looked) = (u128::from(n), u128::from(self.of), u128::from(self.looked));
        u64::try_from((n * of + looked / 2) / looked).unwrap_or(u64::MAX)
    }

    /// How far the estimate may be off, on either side, 95 times of 100 (normal approximation for a sample without
    /// replacement; three in the sample where it has nobody or everybody); nothing where it is exact.
    pub(super) fn margin(&self, n: u64) -> Option<u64> {
        if self.exact {
            return None;
        }
        if self.looked == 0 {
            return Some(self.of);
        }
        #[expect(clippy::cast_precision_loss, reason = "counts of profiles are far below 2^52")]
        let (n, looked, of) = (n as f64, self.looked as f64, self.of as f64);
        let left = (of - looked) / (of - 1.0).max(1.0);
        let spread = 1.96 * (n * (looked - n) / looked * left).sqrt();
        let off = spread.max(if n == 0.0 || n >= looked { 3.0 } else { 0.0 }) / looked * of;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded by the number of profiles")]
        Some(off.min(of).ceil() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_stands_for_the_whole() {
        let part = Share { looked: 100, of: 1000, exact: false };
        assert_eq!((part.whole(25), part.whole(0)), (250, 0));
        // 1.96 · √(100 · ¼ · ¾ · 900/999) = 8.06 of 100, so 80.6 of 1000.
        assert_eq!(part.margin(25), Some(81));
        assert_eq!((part.margin(0), part.margin(100)), (Some(30), Some(30)));
        let none = Share { looked: 0, ..part };
        assert_eq!((none.whole(0), none.margin(0)), (0, Some(1000)));
        let all = Share { looked: 1000, of: 1000, exact: true };
        assert_eq!((all.whole(25), all.margin(25)), (25, None));
    }
}
