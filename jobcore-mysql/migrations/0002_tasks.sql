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
