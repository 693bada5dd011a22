-- jobcore's tables, for those who run migrations by hand: run it in jobcore's database. It can be run again.

-- What should run, and who is there. Instants are UTC with microseconds; ids are printable ASCII, compared byte by byte.

-- The columns up to `update_time` are enough for a row written by hand; they hold for every job, `definition` holds the
-- rest. The defaults say "never planned": the next pass of a scheduler plans the row. `known_time` is the `update_time`
-- of the program's latest write, so that a later one tells that a person changed the row, which is then planned anew.
CREATE TABLE IF NOT EXISTS jobs (
    job_id          VARCHAR(64)  NOT NULL PRIMARY KEY,
    name            VARCHAR(255) NOT NULL,
    command         TEXT         NOT NULL,
    type            TINYINT      NOT NULL COMMENT '1 shell, 2 handler, 3 http, 4 workflow, 5 container, 6 sql, 7 ssh',
    priority        INT          NOT NULL DEFAULT 0,
    cron_expression VARCHAR(100) NULL,
    timeout         INT          NOT NULL DEFAULT 0 COMMENT 'seconds, 0 for none',
    retry_count     INT          NOT NULL DEFAULT 0,
    retry_interval  INT          NOT NULL DEFAULT 0 COMMENT 'seconds',
    create_time     DATETIME(6)  NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    update_time     DATETIME(6)  NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6),
    definition      MEDIUMTEXT   NULL COMMENT 'all of it as JSON; NULL: the columns above are all there is',
    known_time      DATETIME(6)  NULL COMMENT 'update_time of the latest write by the program',
    has_schedule    TINYINT      NOT NULL DEFAULT 0 COMMENT 'whether definition has a schedule other than cron_expression',
    paused          TINYINT      NOT NULL DEFAULT 0,
    version         BIGINT       NOT NULL DEFAULT 1,
    next_fire_time  DATETIME(6)  NULL,
    last_fire_time  DATETIME(6)  NULL,
    zone_version    VARCHAR(64)  NOT NULL DEFAULT '' COMMENT 'of the time zone data that next_fire_time was computed with',
    error           TEXT         NULL,
    planned         VARCHAR(64)  GENERATED ALWAYS AS (
                        CASE WHEN paused = 0 AND (has_schedule = 1 OR cron_expression IS NOT NULL)
                             THEN CASE WHEN known_time = update_time THEN zone_version ELSE '' END END) VIRTUAL
                        COMMENT 'zone_version of active jobs with a schedule; empty: to be planned',
    KEY jobs_due (next_fire_time, job_id),
    KEY jobs_unplanned (planned, job_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Changes of jobs, for those who follow along. `after_log_id` places them among the rows of job_logs.
CREATE TABLE IF NOT EXISTS job_changes (
    id           BIGINT      NOT NULL AUTO_INCREMENT PRIMARY KEY,
    job_id       VARCHAR(64) NOT NULL,
    version      BIGINT      NULL COMMENT 'NULL: deleted',
    after_log_id BIGINT      NOT NULL,
    change_time  DATETIME(6) NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Users, settings, alarm rules, workflow definitions, each with its version.
CREATE TABLE IF NOT EXISTS records (
    namespace   VARBINARY(64)  NOT NULL,
    record_key  VARBINARY(255) NOT NULL,
    value       MEDIUMTEXT     NOT NULL,
    version     BIGINT         NOT NULL,
    update_time DATETIME(6)    NOT NULL,
    PRIMARY KEY (namespace, record_key)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS executors (
    executor_id         VARCHAR(64)  NOT NULL PRIMARY KEY,
    host                VARCHAR(255) NOT NULL,
    port                INT          NOT NULL,
    status              TINYINT      NOT NULL COMMENT '0 offline, 1 online, 2 busy, 3 disabled, 4 draining',
    last_heartbeat_time DATETIME(6)  NOT NULL,
    register_time       DATETIME(6)  NOT NULL,
    incarnation         BIGINT       NOT NULL DEFAULT 0,
    disabled            TINYINT      NOT NULL DEFAULT 0 COMMENT 'the order of a person, which outlives the process',
    draining            TINYINT      NOT NULL DEFAULT 0,
    join_nonce          BIGINT       NULL COMMENT 'recognises a repeated registration',
    group_name          VARCHAR(64)  NOT NULL DEFAULT 'default',
    profile             MEDIUMTEXT   NULL,
    reach               TINYINT      NOT NULL DEFAULT 0 COMMENT '0 direct, 1 remote',
    address             TEXT         NULL,
    lease_duration      BIGINT       NOT NULL DEFAULT 4000000 COMMENT 'microseconds',
    resources           TEXT         NULL,
    KEY idx_status (status)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- What runs: live tasks with their lanes, leases and gates.

-- Lanes by number, so that rows and indexes stay small. A lane's text can be longer than an index takes: its hash is unique.
CREATE TABLE IF NOT EXISTS lanes (
    lane_id   BIGINT      NOT NULL AUTO_INCREMENT PRIMARY KEY,
    lane_hash BINARY(16)  NOT NULL COMMENT 'MD5 of lane',
    lane      TEXT        NOT NULL,
    use_time  DATETIME(6) NOT NULL COMMENT 'roughly, when the latest task came',
    retired   TINYINT     NOT NULL DEFAULT 0 COMMENT 'had no live task when somebody last looked',
    UNIQUE KEY lanes_hash (lane_hash)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Live tasks. Small: what becomes final moves to job_logs. They lie in the order in which they are claimed, so that a
-- batch is a few neighbouring pages, and no claim or start touches an index. What can't be claimed yet lies apart.
CREATE TABLE IF NOT EXISTS tasks (
    lane_id         BIGINT      NOT NULL,
    pending         TINYINT     NOT NULL COMMENT '1 if state is 0 or 1',
    task_rank       BIGINT      NOT NULL COMMENT 'due time in microseconds less priority times 10 s, as it was at the insert',
    task_id         VARCHAR(64) NOT NULL,
    job_id          VARCHAR(64) NOT NULL,
    state           TINYINT     NOT NULL COMMENT '0 blocked, 1 scheduled, 2 ready, 3 leased, 4 running',
    priority        INT         NOT NULL,
    due_time        DATETIME(6) NOT NULL,
    attempt         BIGINT      NOT NULL,
    failures        BIGINT      NOT NULL,
    token           BIGINT      NOT NULL COMMENT 'fencing token of its latest lease',
    create_time     DATETIME(6) NOT NULL,
    start_time      DATETIME(6) NULL,
    scheduled_for   DATETIME(6) NULL,
    part            BIGINT      NOT NULL,
    origin          TINYINT     NOT NULL,
    arguments       MEDIUMTEXT  NULL,
    extra           MEDIUMTEXT  NULL COMMENT 'JSON of what most tasks do not have',
    PRIMARY KEY (lane_id, pending, task_rank, task_id),
    UNIQUE KEY tasks_id (task_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- What only some live tasks have stands in tables of its own, since an index has an entry for every row: who waits for its
-- due time, and who is held and is to be cancelled.
CREATE TABLE IF NOT EXISTS scheduled_tasks (
    task_id  VARCHAR(64) NOT NULL PRIMARY KEY,
    due_time DATETIME(6) NOT NULL,
    KEY scheduled_tasks_due (due_time, task_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
CREATE TABLE IF NOT EXISTS cancel_requests (
    task_id  VARCHAR(64) NOT NULL PRIMARY KEY,
    deadline DATETIME(6) NOT NULL,
    KEY cancel_requests_deadline (deadline, task_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- The tasks of fires, live and in history: a fire makes each part once.
CREATE TABLE IF NOT EXISTS fired_tasks (
    job_id        VARCHAR(64) NOT NULL,
    scheduled_for DATETIME(6) NOT NULL,
    part          BIGINT      NOT NULL,
    task_id       VARCHAR(64) NOT NULL,
    PRIMARY KEY (job_id, scheduled_for, part)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Saved by an attempt for the next one; apart, since they are large and rare.
CREATE TABLE IF NOT EXISTS checkpoints (
    task_id    VARCHAR(64) NOT NULL PRIMARY KEY,
    checkpoint LONGTEXT    NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Leases that hold at least one task. The number is the fencing token.
CREATE TABLE IF NOT EXISTS leases (
    token        BIGINT      NOT NULL AUTO_INCREMENT PRIMARY KEY,
    claim_id     BINARY(16)  NOT NULL,
    executor_id  VARCHAR(64) NOT NULL,
    incarnation  BIGINT      NOT NULL,
    held         BIGINT      NOT NULL COMMENT 'how many of its tasks it holds',
    start_before DATETIME(6) NULL,
    task_ids     MEDIUMTEXT  NOT NULL COMMENT 'JSON of what was claimed; what has another token by now left it',
    UNIQUE KEY leases_claim (claim_id),
    KEY leases_holder (executor_id, incarnation)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Gates, and the tasks that stand before and behind them. `queue` names all gates of the task by the hash of their list,
-- so that what waits is in queues of tasks that are alike but for their order. That and what the task's row says is
-- repeated here, so that ranges of indexes answer what gates ask.
CREATE TABLE IF NOT EXISTS gates (
    gate_key     VARCHAR(68) NOT NULL PRIMARY KEY,
    policy       TEXT        NOT NULL COMMENT 'JSON',
    arrival_time DATETIME(6) NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
CREATE TABLE IF NOT EXISTS gate_tasks (
    gate_key    VARCHAR(68) NOT NULL,
    task_id     VARCHAR(64) NOT NULL,
    queue       BINARY(16)  NOT NULL COMMENT 'MD5 of gate_keys',
    gate_keys   TEXT        NOT NULL COMMENT 'JSON',
    job_id      VARCHAR(64) NOT NULL,
    blocked     TINYINT     NOT NULL COMMENT '0 no, 1 in its queue, 2 until it is found to be due',
    passed      TINYINT     NOT NULL,
    task_rank   BIGINT      NOT NULL,
    due_time    DATETIME(6) NOT NULL,
    create_time DATETIME(6) NOT NULL,
    PRIMARY KEY (gate_key, task_id),
    KEY gate_tasks_by_rank (blocked, gate_key, queue, passed, task_rank, create_time, task_id, due_time),
    KEY gate_tasks_by_time (blocked, gate_key, queue, passed, due_time, create_time, task_id),
    KEY gate_tasks_by_job (blocked, gate_key, queue, job_id, task_id, due_time),
    KEY gate_tasks_due (blocked, due_time),
    KEY gate_tasks_passed (gate_key, passed, blocked)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS unique_keys (
    scope       VARBINARY(64)  NOT NULL,
    unique_key  VARBINARY(255) NOT NULL,
    task_id     VARCHAR(64)    NOT NULL,
    expire_time DATETIME(6)    NOT NULL,
    PRIMARY KEY (scope, unique_key),
    KEY unique_keys_expire (expire_time)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS workflow_runs (
    run_id   VARCHAR(64) NOT NULL PRIMARY KEY,
    job_id   VARCHAR(64) NOT NULL,
    version  BIGINT      NOT NULL,
    state    LONGTEXT    NOT NULL,
    reports  BIGINT      NOT NULL DEFAULT 0 COMMENT 'how many its inbox ever got',
    end_time DATETIME(6) NULL,
    KEY workflow_runs_end (end_time)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
CREATE TABLE IF NOT EXISTS run_inbox (
    run_id   VARCHAR(64)  NOT NULL,
    sequence BIGINT       NOT NULL,
    step     VARCHAR(255) NOT NULL,
    task_id  VARCHAR(64)  NOT NULL,
    state    TINYINT      NOT NULL,
    output   MEDIUMTEXT   NOT NULL,
    PRIMARY KEY (run_id, sequence)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- What ran, and why something didn't.

-- One row for each attempt, and one that closes each task: that of its last attempt where it is written at the end of
-- the task, else one of its own with attempt 0 and no executor. Only the closing row has a task_state and what follows
-- it. `id` grows in the order in which attempts were first recorded, and in which tasks became final.
CREATE TABLE IF NOT EXISTS job_logs (
    id            BIGINT      NOT NULL AUTO_INCREMENT PRIMARY KEY,
    job_id        VARCHAR(64) NOT NULL,
    executor_id   VARCHAR(64) NOT NULL COMMENT 'empty: nobody',
    status        TINYINT     NOT NULL
                  COMMENT '0 running, 1 success, 2 failed, 3 timed out, 4 cancelled, 5 lost, 6 released',
    start_time    DATETIME(6) NOT NULL,
    end_time      DATETIME(6) NULL,
    output        MEDIUMTEXT  NULL,
    error         MEDIUMTEXT  NULL,
    task_id       VARCHAR(64) NOT NULL DEFAULT '',
    attempt       BIGINT      NOT NULL DEFAULT 0,
    token         BIGINT      NOT NULL DEFAULT 0,
    exit_code     INT         NULL,
    task_state    TINYINT     NULL COMMENT '5 succeeded, 6 failed, 7 timed out, 8 cancelled, 9 skipped',
    finish_time   DATETIME(6) NULL,
    reason        TEXT        NULL,
    lane_id       BIGINT      NULL,
    priority      INT         NULL,
    due_time      DATETIME(6) NULL,
    create_time   DATETIME(6) NULL,
    failures      BIGINT      NULL,
    scheduled_for DATETIME(6) NULL,
    part          BIGINT      NULL,
    origin        TINYINT     NULL,
    holder_id     VARCHAR(64) NULL COMMENT 'who settled it, if not the executor of this row',
    incarnation   BIGINT      NULL,
    arguments     MEDIUMTEXT  NULL,
    extra         MEDIUMTEXT  NULL,
    KEY idx_job_id (job_id),
    KEY idx_start_time (start_time),
    KEY job_logs_task (task_id, attempt)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS log_chunks (
    task_id  VARCHAR(64) NOT NULL,
    attempt  BIGINT      NOT NULL,
    sequence BIGINT      NOT NULL,
    stream   TINYINT     NOT NULL COMMENT '0 log, 1 stdout, 2 stderr',
    log_time DATETIME(6) NOT NULL,
    text     MEDIUMTEXT  NOT NULL,
    PRIMARY KEY (task_id, attempt, sequence)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS decisions (
    id            BIGINT      NOT NULL AUTO_INCREMENT PRIMARY KEY,
    job_id        VARCHAR(64) NOT NULL,
    scheduled_for DATETIME(6) NULL,
    covers        BIGINT      NOT NULL COMMENT 'how many fire times, from scheduled_for on',
    task_id       VARCHAR(64) NULL,
    kind          TINYINT     NOT NULL
                  COMMENT '0 misfire skipped, 1 misfire merged, 2 overlap skipped, 3 overlap cancelled, 4 no executor',
    decision_time DATETIME(6) NOT NULL,
    reason        TEXT        NOT NULL,
    KEY decisions_job (job_id),
    KEY decisions_time (decision_time)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Who is there, who leads, who holds which lock, and what is configured, among nodes that share nothing but this database.

-- One row, which each change locks first, so that changes come one after the other. It counts them: who watches sees by it
-- that there is news, and it gives the tokens, so that they increase whatever was released, deleted or expired before.
CREATE TABLE IF NOT EXISTS coordination_revision (
    only_row TINYINT NOT NULL PRIMARY KEY,
    revision BIGINT  NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

INSERT IGNORE INTO coordination_revision VALUES (1, 0);

-- Nodes that hold something. All that a node holds lasts as long as its session, which it renews.
CREATE TABLE IF NOT EXISTS coordination_sessions (
    session_id  BIGINT      NOT NULL PRIMARY KEY COMMENT 'the revision at which it began',
    expire_time DATETIME(6) NOT NULL COMMENT 'UTC, unless it is renewed',
    KEY coordination_sessions_expiry (expire_time)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS coordination_holds (
    kind       TINYINT        NOT NULL COMMENT '1 member of a group, 2 leadership, 3 lock',
    name       VARBINARY(255) NOT NULL COMMENT 'of the group, the election, the lock',
    id         VARBINARY(255) NOT NULL COMMENT 'of the member, else empty',
    session_id BIGINT         NOT NULL,
    ticket     BIGINT         NOT NULL COMMENT 'number of the hold within its session',
    token      BIGINT         NOT NULL COMMENT 'epoch of the leadership, token of the lock: the revision at which it began',
    data       MEDIUMTEXT     NULL COMMENT 'JSON of the member; for people, the name of the candidate that leads',
    PRIMARY KEY (kind, name, id),
    UNIQUE KEY coordination_holds_session (session_id, ticket)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Removed values keep their row, so that a version never comes again.
CREATE TABLE IF NOT EXISTS coordination_config (
    config_key VARBINARY(255) NOT NULL PRIMARY KEY,
    version    BIGINT         NOT NULL COMMENT 'counts the changes, removals included',
    value      MEDIUMTEXT     NULL COMMENT 'JSON; NULL: removed'
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS jobcore_schema (only_row TINYINT NOT NULL PRIMARY KEY, version BIGINT NOT NULL, oldest_program BIGINT NOT NULL, update_time DATETIME(6) NOT NULL) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
REPLACE INTO jobcore_schema VALUES (1, 4, 3, UTC_TIMESTAMP(6));
