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
