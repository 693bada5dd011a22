-- Instants are whole microseconds since 1970-01-01T00:00:00Z; the views at the end show them as text.

-- What should run. The columns up to `update_time` are enough for a row written by hand; they hold for every job,
-- `definition` holds the rest. The defaults say "never planned": the next pass of a scheduler plans the row.
CREATE TABLE jobs (
    job_id          VARCHAR(64)  NOT NULL PRIMARY KEY,
    name            VARCHAR(255) NOT NULL,
    command         TEXT         NOT NULL,
    type            TINYINT      NOT NULL,  -- 1 shell, 2 handler, 3 http, 4 workflow, 5 container, 6 sql, 7 ssh
    priority        INT          NOT NULL DEFAULT 0,
    cron_expression VARCHAR(100),
    timeout         INT          NOT NULL DEFAULT 0,  -- seconds, 0 for none
    retry_count     INT          NOT NULL DEFAULT 0,
    retry_interval  INT          NOT NULL DEFAULT 0,  -- seconds
    create_time     INTEGER      NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000000 AS INTEGER)),
    update_time     INTEGER      NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000000 AS INTEGER)),
    definition      TEXT,                             -- all of it as JSON; NULL: the columns above are all there is
    by_hand         INTEGER      NOT NULL DEFAULT 1,  -- whether the columns above were changed since `definition` was
    scheduled       INTEGER,                          -- whether there is a schedule; NULL: if there is a cron_expression
    paused          INTEGER      NOT NULL DEFAULT 0,
    version         INTEGER      NOT NULL DEFAULT 1,
    next_fire_time  INTEGER,
    last_fire_time  INTEGER,
    zone_version    TEXT         NOT NULL DEFAULT '', -- of the time zone data that next_fire_time was computed with
    error           TEXT
);
CREATE INDEX jobs_due ON jobs (next_fire_time, job_id) WHERE next_fire_time IS NOT NULL;
CREATE INDEX jobs_unplanned ON jobs (zone_version, job_id)
    WHERE paused = 0 AND coalesce(scheduled, cron_expression IS NOT NULL);

-- A change by hand is planned like a new row; changes by the program raise the version themselves.
CREATE TRIGGER jobs_changed_by_hand
AFTER UPDATE OF name, command, type, priority, cron_expression, timeout, retry_count, retry_interval ON jobs
WHEN new.version = old.version
BEGIN
    UPDATE jobs
    SET version = old.version + 1,
        update_time = CAST(unixepoch('subsec') * 1000000 AS INTEGER),
        scheduled = CASE WHEN new.cron_expression IS NOT old.cron_expression
                         THEN new.cron_expression IS NOT NULL ELSE new.scheduled END,
        by_hand = 1,
        next_fire_time = NULL,
        zone_version = '',
        error = NULL
    WHERE job_id = new.job_id;
END;

-- Changes of jobs, for those who follow along. `after_log_id` places them among the rows of job_logs.
CREATE TABLE job_changes (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id       VARCHAR(64) NOT NULL,
    version      INTEGER,                             -- NULL: deleted
    after_log_id INTEGER     NOT NULL,
    change_time  INTEGER     NOT NULL
);

CREATE TABLE records (
    namespace   TEXT    NOT NULL,
    key         TEXT    NOT NULL,
    value       TEXT    NOT NULL,
    version     INTEGER NOT NULL,
    update_time INTEGER NOT NULL,
    PRIMARY KEY (namespace, key)
) WITHOUT ROWID;

CREATE TABLE executors (
    executor_id         VARCHAR(64)  NOT NULL PRIMARY KEY,
    host                VARCHAR(255) NOT NULL,
    port                INT          NOT NULL,
    status              TINYINT      NOT NULL,  -- 0 offline, 1 online, 2 busy, 3 disabled, 4 draining
    last_heartbeat_time INTEGER      NOT NULL,
    register_time       INTEGER      NOT NULL,
    incarnation         INTEGER      NOT NULL DEFAULT 0,
    disabled            INTEGER      NOT NULL DEFAULT 0,  -- the order of a person, which outlives the process
    draining            INTEGER      NOT NULL DEFAULT 0,
    join_nonce          INTEGER,                          -- recognises a repeated registration
    group_name          TEXT         NOT NULL DEFAULT 'default',
    profile             TEXT,
    reach               TINYINT      NOT NULL DEFAULT 0,  -- 0 direct, 1 remote
    address             TEXT,
    lease_duration      INTEGER      NOT NULL DEFAULT 4000000,  -- microseconds
    resources           TEXT
);
CREATE INDEX idx_status ON executors (status);
