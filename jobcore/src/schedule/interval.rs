//! Evenly spaced instants.

use std::time::Duration;

use crate::Timestamp;

/// The first of `origin`, `origin + interval`, `origin + 2 × interval`, … after `after`; none beyond the last
/// instant that can be written. An interval below a microsecond counts as one.
pub(super) fn next_on_grid(origin: Timestamp, interval: Duration, after: Timestamp) -> Option<Timestamp> {
    if after < origin {
        return Some(origin);
    }
    let interval = i64::try_from(interval.as_micros()).unwrap_or(i64::MAX).max(1);
    let steps = after.micros_since(origin) / interval + 1;
    steps
        .checked_mul(interval)
        .and_then(|distance| origin.as_micros().checked_add(distance))
        .filter(|next| *next <= Timestamp::MAX.as_micros())
        .map(Timestamp::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grid_is_kept_however_late_one_asks() {
        let at = Timestamp::from_secs;
        let next = |after| next_on_grid(at(100), Duration::from_secs(10), after);
        for (after, expected) in [
            (0, 100),
            (99, 100),
            (100, 110),
            (109, 110),
            (110, 120),
            (1_005, 1_010),
        ] {
            assert_eq!(next(at(after)), Some(at(expected)), "after {after}");
        }
    }

    #[test]
    fn the_end_of_time_ends_the_grid() {
        assert_eq!(
            next_on_grid(Timestamp::EPOCH, Duration::MAX, Timestamp::EPOCH),
            None
        );
        assert_eq!(
            next_on_grid(Timestamp::EPOCH, Duration::from_secs(1), Timestamp::MAX),
            None
        );
        let first = next_on_grid(Timestamp::EPOCH, Duration::ZERO, Timestamp::EPOCH);
        assert_eq!(first, Some(Timestamp::from_micros(1)));
    }
}
