//! The plan, policy by policy.

use super::*;

/// A plan without a limit.
fn plan(gates: &BTreeMap<GateKey, GateState>, candidates: &[Candidate], now: Timestamp) -> Plan {
    super::plan(gates, candidates, now, usize::MAX)
}

fn task(name: &str, second: i64) -> Candidate {
    Candidate {
        task_id: TaskId::new(name).unwrap(),
        gates: vec![GateKey::of_key("k")],
        passed: false,
        due_time: Timestamp::from_secs(second),
        rank: Rank(second),
        create_time: Timestamp::from_secs(second),
    }
}

fn gate(policy: GatePolicy, live: u32, occupants: &[(&str, bool)]) -> BTreeMap<GateKey, GateState> {
    let occupants = occupants
        .iter()
        .map(|(name, held)| Occupant {
            task_id: TaskId::new(name).unwrap(),
            gates: vec![GateKey::of_key("k")],
            held: *held,
            cancelling: false,
            counts: true,
        })
        .collect();
    BTreeMap::from([(
        GateKey::of_key("k"),
        GateState {
            policy,
            arrival_time: None,
            live,
            occupants,
        },
    )])
}

fn overlap(overlap: OverlapPolicy) -> GatePolicy {
    GatePolicy {
        overlap,
        ..GatePolicy::default()
    }
}

fn steps(plan: &Plan) -> Vec<String> {
    plan.steps
        .iter()
        .map(|(task_id, step)| match step {
            Step::Pass { due_time } => format!("{task_id} passes at {}", due_time.as_micros() / 1_000),
            Step::Wait { .. } => format!("{task_id} waits"),
            Step::Skip => format!("{task_id} skipped"),
            Step::Cancel => format!("{task_id} cancelled"),
            Step::RequestCancel => format!("{task_id} asked"),
        })
        .collect()
}

fn now() -> Timestamp {
    Timestamp::from_secs(10)
}

#[test]
fn a_limit_lets_the_lowest_ranks_pass() {
    let policy = GatePolicy {
        max_live: Some(3),
        ..GatePolicy::default()
    };
    let plan = plan(
        &gate(policy, 1, &[]),
        &[task("c", 3), task("a", 1), task("b", 2)],
        now(),
    );
    assert_eq!(
        steps(&plan),
        ["a passes at 10000", "b passes at 10000", "c waits"]
    );
}

#[test]
fn overlap_policies() {
    let two = [task("b", 1), task("c", 2)];
    type Case<'a> = (OverlapPolicy, &'a [(&'a str, bool)], &'a [&'a str]);
    let cases: [Case<'_>; 9] = [
        (OverlapPolicy::Skip, &[("a", true)], &["b skipped", "c skipped"]),
        (OverlapPolicy::Skip, &[], &["b passes at 10000", "c skipped"]),
        (OverlapPolicy::QueueOne, &[("a", true)], &["b waits", "c skipped"]),
        (OverlapPolicy::QueueOne, &[], &["b passes at 10000", "c waits"]),
        (OverlapPolicy::QueueAll, &[("a", true)], &["b waits", "c waits"]),
        (OverlapPolicy::QueueAll, &[], &["b passes at 10000", "c waits"]),
        (
            OverlapPolicy::CancelPrevious,
            &[("a", true)],
            &["a asked", "b cancelled", "c waits"],
        ),
        (
            OverlapPolicy::CancelPrevious,
            &[("a", false)],
            &["a cancelled", "b cancelled", "c passes at 10000"],
        ),
        (
            OverlapPolicy::Allow,
            &[("a", true)],
            &["b passes at 10000", "c passes at 10000"],
        ),
    ];
    for (policy, occupants, expected) in cases {
        let plan = plan(&gate(overlap(policy), 0, occupants), &two, now());
        assert_eq!(steps(&plan), expected, "{policy:?} {occupants:?}");
    }
}

#[test]
fn a_retry_keeps_its_place_in_the_overlap() {
    let mut again = task("a", 5);
    again.passed = true;
    let plan = plan(
        &gate(overlap(OverlapPolicy::QueueAll), 0, &[("a", false)]),
        &[task("b", 1), again],
        now(),
    );
    assert_eq!(steps(&plan), ["a passes at 10000", "b waits"]);
}

#[test]
fn a_rate_spreads_and_looks_one_second_ahead() {
    let rate = Rate {
        count: 2,
        per: Duration::from_secs(1),
        burst: 1,
    };
    let policy = GatePolicy {
        rate: Some(rate),
        ..GatePolicy::default()
    };
    let many: Vec<_> = ["a", "b", "c", "d"].iter().map(|name| task(name, 1)).collect();
    let plan = plan(&gate(policy, 0, &[]), &many, now());
    assert_eq!(
        steps(&plan),
        [
            "a passes at 10000",
            "b passes at 10500",
            "c passes at 11000",
            "d waits"
        ]
    );
    assert_eq!(
        plan.steps[3].1,
        Step::Wait {
            until: Some(Timestamp::from_millis(10_500))
        }
    );
}

#[test]
fn a_burst_goes_at_once_after_a_quiet_time() {
    let rate = Rate {
        count: 1,
        per: Duration::from_secs(1),
        burst: 2,
    };
    let policy = GatePolicy {
        rate: Some(rate),
        ..GatePolicy::default()
    };
    let plan = plan(
        &gate(policy, 0, &[]),
        &[task("a", 1), task("b", 2), task("c", 3)],
        now(),
    );
    assert_eq!(
        steps(&plan),
        ["a passes at 10000", "b passes at 10000", "c passes at 11000"]
    );
}

fn cancel_previous(max_live: u32) -> GatePolicy {
    GatePolicy {
        max_live: Some(max_live),
        ..overlap(OverlapPolicy::CancelPrevious)
    }
}

#[test]
fn what_gives_way_frees_its_place_at_once() {
    let plan = plan(
        &gate(cancel_previous(1), 1, &[("a", false)]),
        &[task("b", 1)],
        now(),
    );
    assert_eq!(steps(&plan), ["a cancelled", "b passes at 10000"]);
}

#[test]
fn what_gives_way_frees_its_place_behind_all_its_gates() {
    let (job, key) = (GateKey::of_key("k"), GateKey::of_key("other"));
    let mut gates = gate(overlap(OverlapPolicy::CancelPrevious), 1, &[("a", false)]);
    let limit = GatePolicy {
        max_live: Some(1),
        ..GatePolicy::default()
    };
    let other = GateState {
        policy: limit,
        arrival_time: None,
        live: 1,
        occupants: Vec::new(),
    };
    gates.insert(key.clone(), other);
    let both = vec![job.clone(), key];
    gates.get_mut(&job).unwrap().occupants[0].gates.clone_from(&both);
    let newest = Candidate {
        gates: both.clone(),
        ..task("b", 1)
    };
    assert_eq!(
        Rooms::new(&gates, now(), 10).of(&both[1..]),
        Room { passed: 2, fresh: 2 }
    );
    assert_eq!(
        steps(&plan(&gates, &[newest], now())),
        ["a cancelled", "b passes at 10000"]
    );
}

#[test]
fn what_waits_for_its_retry_frees_no_place_when_it_gives_way() {
    let mut gates = gate(cancel_previous(1), 1, &[("a", false), ("held", true)]);
    gates.get_mut(&GateKey::of_key("k")).unwrap().occupants[0].counts = false;
    let plan = plan(&gates, &[task("b", 1)], now());
    assert_eq!(steps(&plan), ["a cancelled", "held asked", "b waits"]);
}

#[test]
fn a_plan_stops_at_its_limit() {
    let policy = GatePolicy {
        rate: Some(Rate {
            count: 10,
            per: Duration::from_secs(1),
            burst: 5,
        }),
        ..GatePolicy::default()
    };
    let gates = gate(policy, 0, &[]);
    let candidates = [task("a", 1), task("b", 2), task("c", 3)];
    let two = super::plan(&gates, &candidates, now(), 2);
    assert_eq!((two.moves(), two.more), (2, true));
    let alone = plan(&gates, &candidates[..2], now());
    assert_eq!(
        two.arrival_times, alone.arrival_times,
        "no rate counts who may not move"
    );
    let all = super::plan(&gates, &candidates, now(), 3);
    assert_eq!((all.moves(), all.more), (3, false));
}

#[test]
fn a_limit_is_used_up_by_what_gives_way() {
    let gates = gate(cancel_previous(1), 1, &[("a", false)]);
    let candidates = [task("b", 1), task("c", 2)];
    let stopped = |limit| {
        let plan = super::plan(&gates, &candidates, now(), limit);
        (steps(&plan), plan.more)
    };
    assert_eq!(stopped(1), (vec!["a cancelled".to_owned()], true));
    assert_eq!(stopped(2).0, ["a cancelled", "b cancelled"]);
    assert_eq!(stopped(3).0, ["a cancelled", "b cancelled", "c passes at 10000"]);
}

#[test]
fn rooms_say_how_much_of_a_queue_matters() {
    let queue = [GateKey::of_key("k")];
    let limit = |max_live, policy| GatePolicy {
        max_live: Some(max_live),
        ..overlap(policy)
    };
    let cases = [
        (limit(5, OverlapPolicy::Allow), (4, 4)),
        (limit(2, OverlapPolicy::Allow), (1, 1)),
        (limit(5, OverlapPolicy::QueueAll), (4, 1)),
        (limit(5, OverlapPolicy::QueueOne), (4, 12)),
        (limit(5, OverlapPolicy::Skip), (4, 12)),
        (limit(5, OverlapPolicy::CancelPrevious), (4, 12)),
    ];
    for (policy, (passed, fresh)) in cases {
        let gates = gate(policy.clone(), 2, &[]);
        assert_eq!(
            Rooms::new(&gates, now(), 10).of(&queue),
            Room { passed, fresh },
            "{policy:?}"
        );
    }
}
