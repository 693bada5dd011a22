//! The simulated cluster: clean seeds, the same trace for the same seed, and guards whose absence is noticed.

use std::sync::atomic::{AtomicU64, Ordering};

use jobcore_testkit::simulation::{Guard, Options, run};

/// Runs the seeds on two threads until one has a violation; says which.
fn first_violated(from: u64, count: u64, options: &Options) -> Option<String> {
    let next = AtomicU64::new(from);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= from + count {
                return None;
            }
            let report = run(seed, options);
            if !report.violations.is_empty() {
                next.store(from + count, Ordering::Relaxed);
                return Some(format!("seed {seed}: {:?}", report.violations));
            }
        }
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(work);
        let own = work();
        other.join().expect("no seed panics").or(own)
    })
}

#[test]
fn seeds_are_clean() {
    assert_eq!(first_violated(0, 150, &Options::default()), None);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let mut hashes = std::collections::BTreeSet::new();
    for seed in 0..40 {
        let (once, again) = (run(seed, &Options::default()), run(seed, &Options::default()));
        assert_eq!(
            (once.trace_hash, once.steps, &once.faults),
            (again.trace_hash, again.steps, &again.faults),
            "seed {seed}"
        );
        hashes.insert(once.trace_hash);
    }
    assert_eq!(hashes.len(), 40, "another seed gives another trace");
}

#[test]
fn every_guard_is_missed_when_it_is_off() {
    for (guard, from) in Guard::ALL.iter().zip((1_000_000..).step_by(1_000)) {
        let options = Options {
            broken: Some(*guard),
            ..Options::default()
        };
        assert!(
            first_violated(from, 200, &options).is_some(),
            "nobody noticed within seeds {from}.. that {guard} was off"
        );
    }
}
