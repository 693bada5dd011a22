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
