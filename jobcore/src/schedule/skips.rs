//! What hears of the times that the search for the next fire passes over, and says where it goes on.

use super::calendar::Excluded;
use super::civil::CivilTime;
use super::{Fire, Gap};
use crate::Timestamp;

pub(super) trait Skips {
    /// `civil` lies in a gap and doesn't fire; the search goes on at the civil time returned.
    fn in_gap(&mut self, civil: CivilTime, gap: Gap) -> CivilTime;

    /// The calendar excludes a fire; the search goes on after the instant returned.
    fn excluded(&mut self, fire: Fire, excluded: Excluded) -> Timestamp;
}

/// Takes no notice and goes on behind the whole gap or excluded stretch.
pub(super) struct Unnoticed;

impl Skips for Unnoticed {
    fn in_gap(&mut self, _civil: CivilTime, gap: Gap) -> CivilTime {
        gap.end
    }

    fn excluded(&mut self, _fire: Fire, excluded: Excluded) -> Timestamp {
        excluded.last
    }
}
