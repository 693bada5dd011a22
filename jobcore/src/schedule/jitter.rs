//! Jitter: delays that spread the fires of many jobs, and are the same wherever and whenever they are computed.

use std::time::Duration;

use super::Schedule;
use crate::Timestamp;

impl Schedule {
    /// The longest delay of a fire; zero without jitter.
    pub fn max_jitter(&self) -> Duration {
        self.limits
            .as_ref()
            .map_or(Duration::ZERO, |limits| limits.jitter)
    }

    /// When the fire at `nominal` becomes due: at most the configured jitter later, and before the next nominal
    /// instant, so that fires keep their order.
    ///
    /// The delay depends only on the schedule, `nominal` and `seed`; [`jitter_seed`] makes a seed for a job. An end
    /// or a calendar bounds the nominal instant, not the delayed one.
    pub fn due_time(&self, nominal: Timestamp, seed: u64) -> Timestamp {
        let longest = self.max_jitter();
        if longest.is_zero() {
            return nominal;
        }
        let room = self.next_after(nominal, nominal).map_or(Duration::MAX, |next| {
            next.scheduled_for.since(nominal) - Duration::from_micros(1)
        });
        let choices = u64::try_from(longest.min(room).as_micros()).unwrap_or(u64::MAX - 1) + 1;
        let random = mix(seed ^ mix(nominal.as_micros().cast_unsigned()));
        let micros = (u128::from(random) * u128::from(choices)) >> 64;
        nominal + Duration::from_micros(micros as u64)
    }
}

/// A seed for the jitter of a job: the same for the same id in every version and on every machine.
pub fn jitter_seed(job_id: &str) -> u64 {
    // FNV-1a: short, and fixed for ever, unlike the standard library's hasher.
    job_id.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The finaliser of SplitMix64: every bit of the answer depends on every bit of the question.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
