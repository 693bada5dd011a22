//! Versioned records: users, settings, alarm rules, workflow definitions.

use jobcore::json::Json;
use jobcore::store::{Expected, Page, PageRequest, PutRecord, PutRecordOutcome, Record};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::columns::instant;
use super::listing::{page, row_limit};
use crate::connection::{Cx, Operation};
use crate::error::Result;

/// Writes records.
#[derive(Debug)]
pub(crate) struct PutRecords(pub(crate) Vec<PutRecord>);

#[async_trait::async_trait]
impl Operation for PutRecords {
    type Answer = Vec<PutRecordOutcome>;
    const NAME: &'static str = "put_records";

    fn weight(&self) -> usize {
        self.0.len()
    }

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let mut outcomes = Vec::with_capacity(self.0.len());
        for put in &self.0 {
            outcomes.push(put_record(cx, put).await?);
        }
        Ok(outcomes)
    }
}

async fn put_record(cx: &mut Cx<'_>, put: &PutRecord) -> Result<PutRecordOutcome> {
    let current = version(cx, put).await?;
    let expected = match put.expected {
        Expected::Any => true,
        Expected::Absent => current.is_none(),
        Expected::Version(version) => current == Some(version),
    };
    if !expected {
        return Ok(PutRecordOutcome::VersionConflict { current });
    }
    let Some(value) = &put.value else {
        let delete = "DELETE FROM records WHERE namespace = ?1 AND key = ?2";
        sqlx::query(delete)
            .bind(put.namespace.clone())
            .bind(put.key.clone())
            .execute(&mut *cx.sql)
            .await?;
        return Ok(PutRecordOutcome::Deleted);
    };
    let version = current.unwrap_or(0) + 1;
    let replace = "INSERT OR REPLACE INTO records (namespace, key, value, version, update_time) \
                   VALUES (?1, ?2, ?3, ?4, ?5)";
    sqlx::query(replace)
        .bind(put.namespace.clone())
        .bind(put.key.clone())
        .bind(value.as_str().to_owned())
        .bind(i64::try_from(version).unwrap_or(i64::MAX))
        .bind(put.now.as_micros())
        .execute(&mut *cx.sql)
        .await?;
    Ok(PutRecordOutcome::Written { version })
}

async fn version(cx: &mut Cx<'_>, put: &PutRecord) -> Result<Option<u64>> {
    let select = "SELECT version FROM records WHERE namespace = ?1 AND key = ?2";
    let query = sqlx::query_scalar(select)
        .bind(put.namespace.clone())
        .bind(put.key.clone());
    let version: Option<i64> = query.fetch_optional(&mut *cx.sql).await?;
    Ok(version.map(|version| version.try_into().unwrap_or(0)))
}

/// One record.
#[derive(Debug)]
pub(crate) struct GetRecord {
    pub(crate) namespace: String,
    pub(crate) key: String,
}

#[async_trait::async_trait]
impl Operation for GetRecord {
    type Answer = Option<Record>;
    const NAME: &'static str = "get_record";

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let select = "SELECT namespace, key, value, version, update_time FROM records WHERE namespace = ?1 AND key = ?2";
        let query = sqlx::query(select)
            .bind(self.namespace.clone())
            .bind(self.key.clone());
        query
            .fetch_optional(&mut *cx.sql)
            .await?
            .as_ref()
            .map(decode)
            .transpose()
    }
}

/// The records of a namespace.
#[derive(Debug)]
pub(crate) struct ListRecords {
    pub(crate) namespace: String,
    pub(crate) page: PageRequest,
}

#[async_trait::async_trait]
impl Operation for ListRecords {
    type Answer = Page<Record>;
    const NAME: &'static str = "list_records";

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let select = "SELECT namespace, key, value, version, update_time FROM records \
                      WHERE namespace = ?1 AND (?2 IS NULL OR key > ?2) ORDER BY key LIMIT ?3";
        let rows = sqlx::query(select)
            .bind(self.namespace.clone())
            .bind(self.page.cursor.as_ref().map(|cursor| cursor.0.clone()))
            .bind(row_limit(self.page.limit))
            .fetch_all(&mut *cx.sql)
            .await?;
        let records = rows.iter().map(decode).collect::<Result<Vec<_>>>()?;
        Ok(page(records, self.page.limit, |record| record.key.clone()))
    }
}

fn decode(row: &SqliteRow) -> Result<Record> {
    Ok(Record {
        namespace: row.try_get(0)?,
        key: row.try_get(1)?,
        value: Json::from_stored(row.try_get::<&str, _>(2)?),
        version: row.try_get::<i64, _>(3)?.try_into().unwrap_or(0),
        update_time: instant(row, 4)?,
    })
}
