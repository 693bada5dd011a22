//! Which faults there are, and how often they happen.

use std::fmt;
use std::time::Duration;

/// What can befall a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    /// It was refused because of an outage: nothing was done (`Unavailable`).
    Outage,
    /// It was refused: nothing was done (`Unavailable`).
    Refused,
    /// It got lost on its way: nothing was done, but the caller doesn't know (`Indeterminate`).
    Lost,
    /// It was carried out, and the answer got lost (`Indeterminate`).
    Unanswered,
    /// The caller was told that nobody knows (`Indeterminate`), and then it was carried out: a late commit.
    Late,
    /// Its future was dropped half-way (`Indeterminate`).
    Dropped,
    /// It took longer.
    Delayed,
    /// A message arrived twice, the second time later.
    Repeated,
}

impl FaultKind {
    /// What can befall a call that changes nothing.
    pub(super) const OF_READS: [Self; 1] = [Self::Refused];

    /// What can befall a call that changes something.
    pub(super) const OF_WRITES: [Self; 5] = [
        Self::Refused,
        Self::Lost,
        Self::Unanswered,
        Self::Late,
        Self::Dropped,
    ];

    /// What can befall a message.
    pub(super) const OF_MESSAGES: [Self; 6] = [
        Self::Refused,
        Self::Lost,
        Self::Unanswered,
        Self::Late,
        Self::Dropped,
        Self::Repeated,
    ];

    /// The name in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Outage => "outage",
            Self::Refused => "refused",
            Self::Lost => "lost",
            Self::Unanswered => "unanswered",
            Self::Late => "late",
            Self::Dropped => "dropped",
            Self::Delayed => "delayed",
            Self::Repeated => "repeated",
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How often which fault happens, as shares of all calls from 0 to 1. All 0 by default.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct FaultPlan {
    /// [`FaultKind::Refused`].
    pub refused: f64,
    /// [`FaultKind::Lost`].
    pub lost: f64,
    /// [`FaultKind::Unanswered`].
    pub unanswered: f64,
    /// [`FaultKind::Late`].
    pub late: f64,
    /// [`FaultKind::Dropped`].
    pub dropped: f64,
    /// [`FaultKind::Delayed`].
    pub delayed: f64,
    /// [`FaultKind::Repeated`].
    pub repeated: f64,
    /// The longest delay of a delayed or late call, and of a repetition.
    pub longest_delay: Duration,
}

impl FaultPlan {
    /// Every kind with this share, and delays up to a second.
    pub const fn all(share: f64) -> Self {
        Self {
            refused: share,
            lost: share,
            unanswered: share,
            late: share,
            dropped: share,
            delayed: share,
            repeated: share,
            longest_delay: Duration::from_secs(1),
        }
    }

    pub(super) const fn share(&self, kind: FaultKind) -> f64 {
        match kind {
            FaultKind::Outage => 0.0,
            FaultKind::Refused => self.refused,
            FaultKind::Lost => self.lost,
            FaultKind::Unanswered => self.unanswered,
            FaultKind::Late => self.late,
            FaultKind::Dropped => self.dropped,
            FaultKind::Delayed => self.delayed,
            FaultKind::Repeated => self.repeated,
        }
    }
}
