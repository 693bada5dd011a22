-- Lanes by number, so that rows and indexes stay small.
CREATE TABLE lanes (
    lane_id  INTEGER PRIMARY KEY AUTOINCREMENT,
    lane     TEXT    NOT NULL UNIQUE,
    use_time INTEGER NOT NULL,           -- roughly, when the latest task came
    retired  INTEGER NOT NULL DEFAULT 0  -- had no live task when somebody last looked
);

-- Live tasks. Small: what becomes final moves to job_logs. They lie in the order in which they are claimed, so that a
-- batch is a few neighbouring pages, however priorities mix. What can't be claimed yet lies apart: no claim steps over it.
CREATE TABLE tasks (
    lane_id         INTEGER     NOT NULL,
    pending         INTEGER     NOT NULL,  -- 1 if state is 0 or 1
    rank            INTEGER     NOT NULL,
    task_id         VARCHAR(64) NOT NULL,
    job_id          VARCHAR(64) NOT NULL,
    state           INTEGER     NOT NULL,  -- 0 blocked, 1 scheduled, 2 ready, 3 leased, 4 running
    priority        INTEGER     NOT NULL,
    due_time        INTEGER     NOT NULL,
    attempt         INTEGER     NOT NULL,
    failures        INTEGER     NOT NULL,
    token           INTEGER     NOT NULL,
    create_time     INTEGER     NOT NULL,
    start_time      INTEGER,
    scheduled_for   INTEGER,
    part            INTEGER     NOT NULL,
    origin          INTEGER     NOT NULL,
    arguments       TEXT,
    cancel_deadline INTEGER,               -- of a request to cancel
    extra           TEXT,                  -- JSON of what most tasks don't have
    PRIMARY KEY (lane_id, pending, rank, task_id)
) WITHOUT ROWID;
CREATE UNIQUE INDEX tasks_id ON tasks (task_id);
CREATE INDEX tasks_due ON tasks (due_time) WHERE state = 1;
CREATE INDEX tasks_cancel ON tasks (cancel_deadline) WHERE cancel_deadline IS NOT NULL;
CREATE UNIQUE INDEX tasks_fire ON tasks (job_id, scheduled_for, part) WHERE scheduled_for IS NOT NULL;

-- Saved by an attempt for the next one; apart, since they are large and rare.
CREATE TABLE checkpoints (
    task_id    VARCHAR(64) NOT NULL PRIMARY KEY,
    checkpoint TEXT        NOT NULL
);

-- Leases that hold at least one task. The number is the fencing token.
CREATE TABLE leases (
    token        INTEGER PRIMARY KEY AUTOINCREMENT,
    claim_id     BLOB        NOT NULL UNIQUE,
    executor_id  VARCHAR(64) NOT NULL,
    incarnation  INTEGER     NOT NULL,
    held         INTEGER     NOT NULL,  -- how many of its tasks it holds
    start_before INTEGER,
    task_ids     TEXT        NOT NULL   -- JSON of what was claimed; what has another token by now left it
);
CREATE INDEX leases_holder ON leases (executor_id, incarnation);

-- Gates, and the tasks behind them. `queue` names all gates of the task, so that what waits is in queues of tasks that
-- are alike but for their order. That and what the task's row says is repeated here, so that ranges of indexes answer
-- what gates ask: which queues wait there, and which are the first of each.
CREATE TABLE gates (
    gate_key     TEXT NOT NULL PRIMARY KEY,
    policy       TEXT NOT NULL,  -- JSON
    arrival_time INTEGER
) WITHOUT ROWID;
CREATE TABLE gate_tasks (
    gate_key    TEXT        NOT NULL,
    task_id     VARCHAR(64) NOT NULL,
    queue       TEXT        NOT NULL,  -- JSON
    job_id      VARCHAR(64) NOT NULL,
    blocked     INTEGER     NOT NULL,  -- 0 no, 1 in its queue, 2 until it is found to be due
    passed      INTEGER     NOT NULL,
    rank        INTEGER     NOT NULL,
    due_time    INTEGER     NOT NULL,
    create_time INTEGER     NOT NULL,
    PRIMARY KEY (gate_key, task_id)
) WITHOUT ROWID;
CREATE INDEX gate_tasks_by_rank ON gate_tasks (gate_key, queue, passed, rank, create_time, task_id, due_time)
    WHERE blocked = 1;
CREATE INDEX gate_tasks_by_time ON gate_tasks (gate_key, queue, passed, due_time, create_time, task_id)
    WHERE blocked = 1;
CREATE INDEX gate_tasks_due ON gate_tasks (due_time) WHERE blocked = 2;
CREATE INDEX gate_tasks_passed ON gate_tasks (gate_key, blocked) WHERE passed = 1;
CREATE INDEX gate_tasks_job ON gate_tasks (job_id, blocked, task_id);

-- Jobs that tasks behind gates name and that don't exist (any more).
CREATE TABLE gone_jobs (
    job_id VARCHAR(64) NOT NULL PRIMARY KEY
) WITHOUT ROWID;
CREATE TRIGGER job_gone AFTER DELETE ON jobs
WHEN EXISTS (SELECT 1 FROM gate_tasks WHERE job_id = old.job_id)
BEGIN
    INSERT OR IGNORE INTO gone_jobs (job_id) VALUES (old.job_id);
END;
CREATE TRIGGER job_back AFTER INSERT ON jobs
WHEN EXISTS (SELECT 1 FROM gone_jobs WHERE job_id = new.job_id)
BEGIN
    DELETE FROM gone_jobs WHERE job_id = new.job_id;
END;

CREATE TABLE unique_keys (
    scope       TEXT        NOT NULL,
    key         TEXT        NOT NULL,
    task_id     VARCHAR(64) NOT NULL,
    expire_time INTEGER     NOT NULL,
    PRIMARY KEY (scope, key)
) WITHOUT ROWID;
CREATE INDEX unique_keys_expire ON unique_keys (expire_time);

CREATE TABLE workflow_runs (
    run_id   VARCHAR(64) NOT NULL PRIMARY KEY,
    job_id   VARCHAR(64) NOT NULL,
    version  INTEGER     NOT NULL,
    state    TEXT        NOT NULL,
    reports  INTEGER     NOT NULL DEFAULT 0,  -- how many its inbox ever got
    end_time INTEGER
);
CREATE INDEX workflow_runs_end ON workflow_runs (end_time) WHERE end_time IS NOT NULL;
CREATE TABLE run_inbox (
    run_id   VARCHAR(64) NOT NULL,
    sequence INTEGER     NOT NULL,
    step     TEXT        NOT NULL,
    task_id  VARCHAR(64) NOT NULL,
    state    INTEGER     NOT NULL,
    output   TEXT        NOT NULL,
    PRIMARY KEY (run_id, sequence)
) WITHOUT ROWID;
