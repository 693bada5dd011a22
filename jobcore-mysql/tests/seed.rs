//! The columns that the tables promise to people: their names, types and defaults.

#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic like the tests")]

mod support;

use support::{Database, server};

/// Table, column, type, whether it may be NULL, default. Types may be wider than what people were promised.
const COLUMNS: &str = "
    jobs       job_id               varchar(64)   NO   -
    jobs       name                 varchar(255)  NO   -
    jobs       command              text          NO   -
    jobs       type                 tinyint       NO   -
    jobs       priority             int           NO   0
    jobs       cron_expression      varchar(100)  YES  -
    jobs       timeout              int           NO   0
    jobs       retry_count          int           NO   0
    jobs       retry_interval       int           NO   0
    jobs       create_time          datetime(6)   NO   current_timestamp(6)
    jobs       update_time          datetime(6)   NO   current_timestamp(6)+update
    job_logs   id                   bigint        NO   auto_increment
    job_logs   job_id               varchar(64)   NO   -
    job_logs   executor_id          varchar(64)   NO   -
    job_logs   status               tinyint       NO   -
    job_logs   start_time           datetime(6)   NO   -
    job_logs   end_time             datetime(6)   YES  -
    job_logs   output               mediumtext    YES  -
    job_logs   error                mediumtext    YES  -
    executors  executor_id          varchar(64)   NO   -
    executors  host                 varchar(255)  NO   -
    executors  port                 int           NO   -
    executors  status               tinyint       NO   -
    executors  last_heartbeat_time  datetime(6)   NO   -
    executors  register_time        datetime(6)   NO   -
";

/// Table, index, columns.
const INDEXES: &str = "
    executors  PRIMARY         executor_id
    executors  idx_status      status
    job_logs   PRIMARY         id
    job_logs   idx_job_id      job_id
    job_logs   idx_start_time  start_time
    jobs       PRIMARY         job_id
";

/// Words, line by line, with one space between them.
fn lines(text: &str) -> Vec<String> {
    let lines = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.filter(|line| !line.is_empty()).collect()
}

async fn found(database: &Database, select: &'static str) -> Vec<String> {
    let query = sqlx::query_scalar(select).bind(database.name().to_owned());
    query.fetch_all(&mut database.connect().await).await.unwrap()
}

#[tokio::test]
async fn people_find_the_columns_that_they_were_promised() {
    let Some(server) = server() else { return };
    let database = Database::create(&server).await;
    let _store = database.config().open().await.unwrap();
    // The server may say how wide it shows an integer, and write functions and NULL as it likes.
    let select = "SELECT CONCAT_WS(' ', table_name, column_name, \
                  CASE WHEN data_type LIKE '%int' THEN data_type ELSE LOWER(column_type) END, is_nullable, \
                  CASE WHEN extra LIKE '%auto_increment%' THEN 'auto_increment' \
                       WHEN column_default IS NULL OR column_default = 'NULL' THEN '-' \
                       ELSE CONCAT(LOWER(column_default), \
                                   CASE WHEN LOWER(extra) LIKE '%on update current_timestamp%' THEN '+update' ELSE '' END) \
                  END) FROM information_schema.columns WHERE table_schema = ?";
    let found = found(&database, select).await;
    let missing: Vec<String> = lines(COLUMNS)
        .into_iter()
        .filter(|column| !found.contains(column))
        .collect();
    assert!(missing.is_empty(), "{missing:#?} among {found:#?}");
}

#[tokio::test]
async fn people_find_the_indexes_that_they_were_promised() {
    let Some(server) = server() else { return };
    let database = Database::create(&server).await;
    let _store = database.config().open().await.unwrap();
    let select = "SELECT CONCAT_WS(' ', table_name, index_name, \
                  GROUP_CONCAT(column_name ORDER BY seq_in_index SEPARATOR ' ')) \
                  FROM information_schema.statistics WHERE table_schema = ? GROUP BY table_name, index_name";
    let found = found(&database, select).await;
    let missing: Vec<String> = lines(INDEXES)
        .into_iter()
        .filter(|index| !found.contains(index))
        .collect();
    assert!(missing.is_empty(), "{missing:#?} among {found:#?}");
}
