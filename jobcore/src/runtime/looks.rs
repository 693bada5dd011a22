//! When to look for tasks that nobody told of, because there is room for them.

use std::time::Duration;

use crate::time::Timestamp;

/// The shortest pause after a look that found nothing.
const SHORTEST: Duration = Duration::from_millis(2);

/// Looks for tasks that nobody told of.
///
/// Where the last claim may have left some, there is one as soon as there is room. Else only other processes can have
/// made some: then the looks become rarer the longer they find nothing, as in a process that makes its own tasks each
/// would cost as much as the claim that found the task.
#[derive(Debug)]
pub(super) struct Looks {
    /// Whether the last claim may have left something.
    left: bool,
    /// Whether there has been room since the last claim.
    wanted: bool,
    /// Whether the claim that is under way is such a look.
    looking: bool,
    pause: Duration,
    longest: Duration,
    next: Timestamp,
}

impl Looks {
    pub(super) fn new(longest: Duration, now: Timestamp) -> Self {
        Self {
            left: false,
            wanted: false,
            looking: false,
            pause: Duration::ZERO,
            longest,
            next: now,
        }
    }

    /// There is room again.
    pub(super) fn want(&mut self) {
        self.wanted = true;
    }

    /// When to look; `None`: not before there is room again.
    pub(super) fn due(&self) -> Option<Timestamp> {
        let next = if self.left { Timestamp::MIN } else { self.next };
        self.wanted.then_some(next)
    }

    /// The claim that comes is a look.
    pub(super) fn begin(&mut self) {
        self.looking = !self.left;
    }

    /// A claim, told of or not, got this many tasks by `now`, and may have left some.
    pub(super) fn claimed(&mut self, tasks: usize, left: bool, now: Timestamp) {
        if self.looking {
            self.pause = match tasks {
                0 => (self.pause * 2).max(SHORTEST).min(self.longest),
                _ => Duration::ZERO,
            };
            self.next = now + self.pause;
        }
        (self.left, self.wanted, self.looking) = (left, false, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::EPOCH + Duration::from_millis(millis)
    }

    fn look(looks: &mut Looks, tasks: usize, now: Timestamp) -> Timestamp {
        looks.want();
        looks.begin();
        looks.claimed(tasks, false, now);
        looks.want();
        looks.due().unwrap()
    }

    #[test]
    fn what_was_left_is_looked_for_as_soon_as_there_is_room() {
        let mut looks = Looks::new(Duration::from_millis(10), at(0));
        look(&mut looks, 0, at(100));
        looks.claimed(5, true, at(101));
        assert_eq!(looks.due(), None);
        looks.want();
        assert!(looks.due().unwrap() <= at(101));
    }

    #[test]
    fn looks_that_find_nothing_become_rarer() {
        let mut looks = Looks::new(Duration::from_millis(10), at(0));
        let next = [100, 200, 300, 400].map(|now| look(&mut looks, 0, at(now)));
        assert_eq!(next, [at(102), at(204), at(308), at(410)]);
    }

    #[test]
    fn a_look_that_finds_something_is_followed_by_the_next_at_once() {
        let mut looks = Looks::new(Duration::from_millis(10), at(0));
        look(&mut looks, 0, at(100));
        assert_eq!(look(&mut looks, 1, at(200)), at(200));
    }

    #[test]
    fn claims_that_were_told_of_tell_nothing_about_looks() {
        let mut looks = Looks::new(Duration::from_millis(10), at(0));
        let next = look(&mut looks, 0, at(100));
        looks.claimed(1, false, at(150));
        looks.want();
        assert_eq!(looks.due(), Some(next));
    }
}
