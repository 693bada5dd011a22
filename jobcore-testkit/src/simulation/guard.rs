//! Guards: what keeps the cluster right, each of which can be switched off to see that the simulator notices.
//!
//! A guard is switched off outside the production code. Between the watched store and the memory store behind it a call or
//! its answer is altered, and at an executor's end of the wire a message, so that the outcome is what a store or an
//! executor without that guard would have given.

use std::fmt;
use std::str::FromStr;

macro_rules! guards {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// Something that keeps the cluster right.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Guard {
            $($(#[$doc])* $name,)*
        }

        impl Guard {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Its name on the command line.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

guards! {
    /// A write under a stale token is refused.
    StaleToken = "stale-token";
    /// A heartbeat counts only while its executor is alive in the store.
    HeartbeatAlive = "heartbeat-alive";
    /// A new incarnation supersedes the earlier ones.
    Superseded = "superseded";
    /// Tasks are inserted and the schedule is advanced in one transaction.
    FireAtomic = "fire-atomic";
    /// Tasks of dead holders are taken back.
    Recovery = "recovery";
    /// An executor is declared dead only after its lease.
    LeaseExpiry = "lease-expiry";
    /// Jobs are changed and fired under the version that was read.
    JobVersion = "job-version";
    /// What is live behind a gate is counted under its lock.
    GateLock = "gate-lock";
    /// The gate's lock covers its overlap policy.
    OverlapLock = "overlap-lock";
    /// The gate's lock covers its rate.
    RateLock = "rate-lock";
    /// A task is claimed only if it is ready.
    ClaimCondition = "claim-condition";
    /// A task's tokens increase.
    TokenOrder = "token-order";
    /// A second enqueue with the same key finds the first.
    UniqueKey = "unique-key";
    /// A final task doesn't change.
    FinalIsFinal = "final-is-final";
    /// A request to cancel is kept in the task's row.
    CancelHonoured = "cancel-honoured";
    /// The start is durable before an at-most-once attempt begins.
    AtMostOnce = "at-most-once";
    /// A task whose nodes died is claimed alone and started durably.
    Quarantine = "quarantine";
    /// A heartbeat's answer brings what the node didn't name.
    Unnamed = "unnamed";
    /// A failure is counted with the retry that follows.
    RetryCount = "retry-count";
    /// A fire time without a task leaves a decision.
    Decisions = "decisions";
    /// What was accepted is durable.
    InsertDurable = "insert-durable";
    /// A result that is reported twice counts once.
    DedupReports = "dedup-reports";
    /// A claim on behalf of an executor counts what it holds.
    ClaimCount = "claim-count";
    /// A task message that comes too late is refused.
    StartBefore = "start-before";
    /// A task message for another incarnation is dropped.
    InboxIncarnation = "inbox-incarnation";
    /// A task message that comes twice starts once.
    DedupStarts = "dedup-starts";
    /// A remote attempt that must be confirmed begins only when its start is durable.
    ConfirmStart = "confirm-start";
    /// A remote attempt's end is reported until the store is known to have it.
    ReportResend = "report-resend";
    /// A sign of life that is older than a doubt proves nothing.
    BeatTime = "beat-time";
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Guard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|guard| guard.as_str() == text);
        found
            .copied()
            .ok_or_else(|| format!("there is no guard {text}; `--break list` names them"))
    }
}
