//! Measured durations and their percentiles.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Durations from a microsecond to an hour, kept to three digits.
#[derive(Debug)]
pub(crate) struct Distribution(Histogram<u64>);

impl Distribution {
    pub(crate) fn new() -> Self {
        let longest = 3_600_000_000;
        Self(Histogram::new_with_bounds(1, longest, 3).expect("invariant: the bounds are constants that fit"))
    }

    pub(crate) fn add(&mut self, duration: Duration) {
        self.0
            .saturating_record(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).max(1));
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// The median, in milliseconds.
    pub(crate) fn p50_ms(&self) -> f64 {
        self.quantile_ms(0.5)
    }

    /// What 99 of 100 don't exceed, in milliseconds.
    pub(crate) fn p99_ms(&self) -> f64 {
        self.quantile_ms(0.99)
    }

    fn quantile_ms(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1_000.0
    }
}

impl FromIterator<Duration> for Distribution {
    fn from_iter<I: IntoIterator<Item = Duration>>(durations: I) -> Self {
        let mut distribution = Self::new();
        durations
            .into_iter()
            .for_each(|duration| distribution.add(duration));
        distribution
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_in_milliseconds() {
        let distribution = (1..=100).map(Duration::from_millis).collect::<Distribution>();
        assert_eq!(distribution.count(), 100);
        assert!((distribution.p50_ms() - 50.0).abs() < 0.1);
        assert!((distribution.p99_ms() - 99.0).abs() < 0.1);
    }
}
