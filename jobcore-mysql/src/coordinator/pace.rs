//! How long to rest between looks, and between tries that fail.

use std::time::Duration;

use rand::Rng as _;

/// Rests that grow while nothing happens, each a little longer at random, so that nodes that began together part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    shortest: Duration,
    longest: Duration,
    next: Duration,
}

impl Pace {
    /// From `shortest` up to `longest`, each half as long again as the one before, and up to a quarter longer at random.
    pub(crate) const fn new(shortest: Duration, longest: Duration) -> Self {
        Self {
            shortest,
            longest,
            next: shortest,
        }
    }

    /// Something happened: the next rest is short.
    pub(crate) fn quicken(&mut self) {
        self.next = self.shortest;
    }

    /// The next rest.
    pub(crate) fn rest(&mut self) -> Duration {
        let rest = self.next;
        self.next = (rest * 3 / 2).min(self.longest);
        #[allow(
            clippy::disallowed_methods,
            reason = "nothing that anybody decides depends on it"
        )]
        let more = rand::rng().random_range(Duration::ZERO..=rest / 4);
        rest + more
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_grow_up_to_the_longest_and_begin_anew() {
        let (shortest, longest) = (Duration::from_millis(50), Duration::from_secs(1));
        let mut pace = Pace::new(shortest, longest);
        let first = pace.rest();
        assert!((shortest..=shortest * 5 / 4).contains(&first), "{first:?}");
        let total: Duration = (0..20).map(|_| pace.rest()).sum();
        assert!(total < longest * 5 / 4 * 20);
        let last = pace.rest();
        assert!((longest..=longest * 5 / 4).contains(&last), "{last:?}");
        pace.quicken();
        assert!(pace.rest() <= shortest * 5 / 4);
    }
}
