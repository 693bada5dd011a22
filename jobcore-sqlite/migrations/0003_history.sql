-- One row for each attempt, and one that closes each task: that of its last attempt where it is written at the end of
-- the task, else one of its own with attempt 0 and no executor. Only the closing row has a task_state and what follows
-- it. `id` grows in the order in which attempts were first recorded, and in which tasks became final.
CREATE TABLE job_logs (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id        VARCHAR(64) NOT NULL,
    executor_id   VARCHAR(64) NOT NULL,  -- empty: nobody
    status        TINYINT     NOT NULL,  -- 0 running, 1 success, 2 failed, 3 timed out, 4 cancelled, 5 lost, 6 released
    start_time    INTEGER     NOT NULL,
    end_time      INTEGER,
    output        TEXT,
    error         TEXT,
    task_id       VARCHAR(64) NOT NULL DEFAULT '',
    attempt       INTEGER     NOT NULL DEFAULT 0,
    token         INTEGER     NOT NULL DEFAULT 0,
    exit_code     INTEGER,
    task_state    INTEGER,               -- 5 succeeded, 6 failed, 7 timed out, 8 cancelled, 9 skipped
    finish_time   INTEGER,
    reason        TEXT,
    lane_id       INTEGER,
    priority      INTEGER,
    due_time      INTEGER,
    create_time   INTEGER,
    failures      INTEGER,
    scheduled_for INTEGER,
    part          INTEGER,
    origin        INTEGER,
    holder_id     VARCHAR(64),           -- who settled it, if not the executor of this row
    incarnation   INTEGER,
    arguments     TEXT,
    extra         TEXT
);
CREATE INDEX idx_job_id ON job_logs (job_id);
CREATE INDEX idx_start_time ON job_logs (start_time);
CREATE INDEX job_logs_task ON job_logs (task_id, attempt);
CREATE INDEX job_logs_fire ON job_logs (job_id, scheduled_for, part) WHERE scheduled_for IS NOT NULL;

CREATE TABLE log_chunks (
    task_id  VARCHAR(64) NOT NULL,
    attempt  INTEGER     NOT NULL,
    sequence INTEGER     NOT NULL,
    stream   TINYINT     NOT NULL,  -- 0 log, 1 stdout, 2 stderr
    log_time INTEGER     NOT NULL,
    text     TEXT        NOT NULL,
    PRIMARY KEY (task_id, attempt, sequence)
);

CREATE TABLE decisions (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id        VARCHAR(64) NOT NULL,
    scheduled_for INTEGER,
    count         INTEGER     NOT NULL,
    task_id       VARCHAR(64),
    kind          TINYINT     NOT NULL,
    decision_time INTEGER     NOT NULL,
    reason        TEXT        NOT NULL
);
CREATE INDEX decisions_job ON decisions (job_id);
CREATE INDEX decisions_time ON decisions (decision_time);

-- For people who look into the file.
CREATE VIEW readable_jobs AS
SELECT job_id, name, command, cron_expression, paused, version, error,
       strftime('%Y-%m-%dT%H:%M:%fZ', next_fire_time / 1e6, 'unixepoch') AS next_fire_time,
       strftime('%Y-%m-%dT%H:%M:%fZ', last_fire_time / 1e6, 'unixepoch') AS last_fire_time
FROM jobs;
CREATE VIEW readable_tasks AS
SELECT t.task_id, t.job_id, l.lane,
       CASE t.state WHEN 0 THEN 'blocked' WHEN 1 THEN 'scheduled' WHEN 2 THEN 'ready' WHEN 3 THEN 'leased'
                    ELSE 'running' END AS state,
       t.priority, t.attempt, t.failures, t.token,
       strftime('%Y-%m-%dT%H:%M:%fZ', t.due_time / 1e6, 'unixepoch') AS due_time,
       strftime('%Y-%m-%dT%H:%M:%fZ', t.create_time / 1e6, 'unixepoch') AS create_time
FROM tasks t JOIN lanes l USING (lane_id);
CREATE VIEW readable_job_logs AS
SELECT id, job_id, task_id, attempt, executor_id,
       CASE status WHEN 0 THEN 'running' WHEN 1 THEN 'success' WHEN 2 THEN 'failed' WHEN 3 THEN 'timed_out'
                   WHEN 4 THEN 'cancelled' WHEN 5 THEN 'lost' ELSE 'released' END AS status,
       CASE task_state WHEN 5 THEN 'succeeded' WHEN 6 THEN 'failed' WHEN 7 THEN 'timed_out' WHEN 8 THEN 'cancelled'
                       WHEN 9 THEN 'skipped' END AS task_state,
       strftime('%Y-%m-%dT%H:%M:%fZ', start_time / 1e6, 'unixepoch') AS start_time,
       strftime('%Y-%m-%dT%H:%M:%fZ', end_time / 1e6, 'unixepoch') AS end_time,
       exit_code, output, error, reason
FROM job_logs;
