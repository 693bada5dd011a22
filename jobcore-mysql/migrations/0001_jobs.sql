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
