//! The trace: what happened, as a hash to compare two runs by, and as text for people.

use jobcore::Result;

use super::call::{Answer, Call};
use super::invariants::AttemptEvent;
use super::mirror::TaskChange;
use super::process::Caller;
use super::time::WorldTime;

/// What happened so far.
pub(super) struct Trace {
    verbose: bool,
    hash: u64,
}

impl Trace {
    pub(super) const fn new(verbose: bool) -> Self {
        // The offset basis of FNV-1a.
        Self {
            verbose,
            hash: 0xcbf2_9ce4_8422_2325,
        }
    }

    pub(super) const fn hash(&self) -> u64 {
        self.hash
    }

    pub(super) fn call(
        &mut self,
        time: WorldTime,
        caller: Caller,
        call: &Call,
        answer: &Result<Answer>,
        changes: &[TaskChange],
    ) {
        self.number(time.passed().as_micros() as u64);
        self.number(((caller.node as u64) << 32) + u64::from(caller.life));
        self.text(call.name());
        self.number(u64::from(answer.is_ok()));
        for change in changes {
            self.text(change.after.task_id.as_str());
            self.number(change.after.token.0);
            self.number(change.after.state as u64);
        }
        self.event(time, || match answer {
            Ok(answer) => format!("{caller} {call:?}\n      -> {answer:?}"),
            Err(error) => format!("{caller} {call:?}\n      -> error: {error}"),
        });
        for change in changes {
            self.event(time, || {
                let before = change.state_before().map_or("new", |state| state.as_str());
                let after = &change.after;
                format!(
                    "      {} {before} => {} {:?} token {}",
                    after.task_id, after.state, after.holder, after.token
                )
            });
        }
    }

    pub(super) fn attempt(&mut self, time: WorldTime, event: &AttemptEvent) {
        self.number(time.passed().as_micros() as u64);
        self.text(event.task_id.as_str());
        self.number(event.token.0);
        self.number(event.kind as u64);
        self.event(time, || format!("{} {:?}: {event:?}", event.caller, event.kind));
    }

    #[expect(clippy::print_stderr, reason = "the trace is what a verbose run is for")]
    pub(super) fn event(&self, time: WorldTime, what: impl FnOnce() -> String) {
        if self.verbose {
            eprintln!("{:>10.3} {}", time.passed().as_secs_f64(), what());
        }
    }

    fn text(&mut self, text: &str) {
        text.bytes().for_each(|byte| self.byte(byte));
    }

    fn number(&mut self, number: u64) {
        number.to_le_bytes().into_iter().for_each(|byte| self.byte(byte));
    }

    fn byte(&mut self, byte: u8) {
        self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
}
