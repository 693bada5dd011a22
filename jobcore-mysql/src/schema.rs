//! The tables: made in an empty database, brought up to date in an older one, refused if they are of a program too new.
//!
//! Definitions can't be rolled back here, so each script can be run again: what was cut off half-way goes on. Scripts
//! first add what a newer program needs and only a release later take away what none uses any more; the schema names the
//! oldest program that may work on it, so that neighbouring releases run side by side.

use jobcore::{Error, ErrorKind};
use sqlx::Row;
use sqlx::mysql::MySqlConnection;

use crate::BACKEND;
use crate::error::{self, Failure, Result};

/// The scripts, by the version of the schema that each leads to, from 1, with the oldest version that a program must know
/// to work on it.
const MIGRATIONS: [(&str, i64); 4] = [
    (include_str!("../migrations/0001_jobs.sql"), 1),
    (include_str!("../migrations/0002_tasks.sql"), 1),
    (include_str!("../migrations/0003_history.sql"), 3),
    (include_str!("../migrations/0004_coordination.sql"), 3),
];

/// The version of the schema that this program knows.
pub(crate) const VERSION: i64 = MIGRATIONS.len() as i64;

/// Serialises the programs that migrate one database. The server's named locks are global: the database is part of it.
const LOCK: &str = "SELECT GET_LOCK(CONCAT('jobcore_schema:', MD5(DATABASE())), 60)";
const UNLOCK: &str = "SELECT RELEASE_LOCK(CONCAT('jobcore_schema:', MD5(DATABASE())))";

const MAKE_TABLE: &str = "CREATE TABLE IF NOT EXISTS jobcore_schema (only_row TINYINT NOT NULL PRIMARY KEY, \
                          version BIGINT NOT NULL, oldest_program BIGINT NOT NULL, update_time DATETIME(6) NOT NULL) \
                          ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";

/// What the database says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    /// 0: there is nothing yet.
    version: i64,
    /// The version that a program must know at least.
    oldest_program: i64,
}

/// Makes sure that the tables are there and that this program may use them.
pub(crate) async fn prepare(sql: &mut MySqlConnection, migrate: bool) -> Result<()> {
    let found = found(sql).await?;
    check(found)?;
    if found.version >= VERSION {
        return Ok(());
    }
    if !migrate {
        let message = format!(
            "the database has schema version {}, this program needs {VERSION}: run its schema.sql, or allow migration",
            found.version
        );
        return Err(refuse(message));
    }
    migrate_under_lock(sql).await
}

async fn migrate_under_lock(sql: &mut MySqlConnection) -> Result<()> {
    let locked: Option<i64> = sqlx::query_scalar(LOCK).fetch_one(&mut *sql).await?;
    if locked != Some(1) {
        let message =
            "another process has been migrating the schema for a minute; try again when it has ended";
        return Err(Failure::Core(Error::new(ErrorKind::Unavailable, message)));
    }
    let migrated = run_missing(sql).await.map_err(explain_missing_rights);
    sqlx::query_scalar::<_, Option<i64>>(UNLOCK)
        .fetch_one(&mut *sql)
        .await?;
    migrated
}

/// Says what to do where this user may not change tables.
fn explain_missing_rights(failure: Failure) -> Failure {
    match failure {
        Failure::Sql(error) if error::is_denied(&error) => refuse(format!(
            "the tables have to be made or changed, and this user may not: {error}; let another user run schema.sql"
        )),
        other => other,
    }
}

/// Runs the scripts that are missing.
async fn run_missing(sql: &mut MySqlConnection) -> Result<()> {
    sqlx::raw_sql(MAKE_TABLE).execute(&mut *sql).await?;
    let found = found(sql).await?;
    check(found)?;
    for (version, (script, oldest_program)) in (1_i64..).zip(MIGRATIONS) {
        if version <= found.version {
            continue;
        }
        sqlx::raw_sql(script).execute(&mut *sql).await?;
        sqlx::query("REPLACE INTO jobcore_schema VALUES (1, ?, ?, UTC_TIMESTAMP(6))")
            .bind(version)
            .bind(oldest_program)
            .execute(&mut *sql)
            .await?;
    }
    Ok(())
}

async fn found(sql: &mut MySqlConnection) -> Result<Found> {
    let exists = "SELECT COUNT(*) FROM information_schema.tables \
                  WHERE table_schema = DATABASE() AND table_name = 'jobcore_schema'";
    let nothing = Found {
        version: 0,
        oldest_program: 0,
    };
    if sqlx::query_scalar::<_, i64>(exists).fetch_one(&mut *sql).await? == 0 {
        return Ok(nothing);
    }
    let row = sqlx::query("SELECT version, oldest_program FROM jobcore_schema WHERE only_row = 1")
        .fetch_optional(sql)
        .await?;
    row.map_or(Ok(nothing), |row| {
        Ok(Found {
            version: row.try_get(0)?,
            oldest_program: row.try_get(1)?,
        })
    })
}

fn check(found: Found) -> Result<()> {
    if found.oldest_program <= VERSION {
        return Ok(());
    }
    Err(refuse(format!(
        "the database has schema version {}, which only programs that know version {} may use; this one knows {VERSION}: \
         upgrade it",
        found.version, found.oldest_program
    )))
}

fn refuse(message: impl Into<String>) -> Failure {
    Failure::Core(Error::new(ErrorKind::Unsupported, message.into()).backend(BACKEND))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `schema.sql` is what those run whose programs have no right to.
    #[test]
    fn the_offline_script_makes_the_same_tables() {
        let mut script = String::from(
            "-- jobcore's tables, for those who run migrations by hand: run it in jobcore's database. It can be run again.\n\n",
        );
        for (migration, _) in MIGRATIONS {
            script.push_str(migration);
            script.push('\n');
        }
        script.push_str(&MAKE_TABLE.replace("  ", " "));
        script.push_str(";\n");
        let (_, oldest_program) = MIGRATIONS[MIGRATIONS.len() - 1];
        script.push_str(&format!(
            "REPLACE INTO jobcore_schema VALUES (1, {VERSION}, {oldest_program}, UTC_TIMESTAMP(6));\n"
        ));
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schema.sql");
        if std::env::var_os("JOBCORE_WRITE_SCHEMA").is_some() {
            std::fs::write(path, &script).unwrap();
        }
        let there = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            there == script,
            "schema.sql isn't what the migrations make; write it anew with JOBCORE_WRITE_SCHEMA=1"
        );
    }

    #[test]
    fn a_program_that_is_too_old_is_told() {
        let newer = Found {
            version: VERSION + 1,
            oldest_program: VERSION,
        };
        assert!(check(newer).is_ok());
        let too_new = Found {
            version: VERSION + 2,
            oldest_program: VERSION + 1,
        };
        let refused = check(too_new).unwrap_err().into_error("open");
        assert_eq!(refused.kind(), ErrorKind::Unsupported);
        assert!(refused.to_string().contains("upgrade it"), "{refused}");
    }
}
