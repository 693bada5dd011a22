//! Versioned records: users, settings, alarm rules, workflow definitions.

use std::collections::BTreeMap;

use jobcore::Timestamp;
use jobcore::json::Json;
use jobcore::store::{Expected, Page, PageRequest, PutRecord, PutRecordOutcome, Record};
use sqlx::Row;
use sqlx::mysql::MySqlRow;

use super::columns::{binary_text, datetime, instant, number, unsigned};
use super::listing::{page, row_limit};
use crate::connection::{Access, Cx, Operation};
use crate::error::Result;

/// Writes records.
#[derive(Debug)]
pub(crate) struct PutRecords(pub(crate) Vec<PutRecord>);

/// Names a record: namespace and key.
type Name<'p> = (&'p str, &'p str);

/// A record while a batch is decided.
#[derive(Debug, Default)]
struct Known<'p> {
    existed: bool,
    version: Option<u64>,
    /// What is to be written, if anything of it is: its content (`None`: nothing any more), and when.
    written: Option<(Option<&'p Json>, Timestamp)>,
}

#[async_trait::async_trait]
impl Operation for PutRecords {
    type Answer = Vec<PutRecordOutcome>;
    const NAME: &'static str = "put_records";
    const ACCESS: Access = Access::Write;

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let names = self
            .0
            .iter()
            .map(|put| (put.namespace.as_str(), put.key.as_str()));
        let mut known: BTreeMap<Name<'_>, Known<'_>> = names.map(|name| (name, Known::default())).collect();
        // In the order of their keys, one after the other: most batches have one.
        for (name, record) in &mut known {
            record.version = lock_version(cx, *name).await?;
            record.existed = record.version.is_some();
        }
        let mut outcomes = Vec::with_capacity(self.0.len());
        for put in &self.0 {
            let record = known.entry((&put.namespace, &put.key)).or_default();
            outcomes.push(put_record(put, record));
        }
        for (name, record) in &known {
            write_record(cx, *name, record).await?;
        }
        Ok(outcomes)
    }
}

async fn lock_version(cx: &mut Cx<'_>, (namespace, key): Name<'_>) -> Result<Option<u64>> {
    let select = "SELECT version FROM records WHERE namespace = ? AND record_key = ? FOR UPDATE";
    let query = sqlx::query(select)
        .bind(namespace.as_bytes().to_vec())
        .bind(key.as_bytes().to_vec());
    let row = query.fetch_optional(&mut *cx.sql).await?;
    row.map(|row| unsigned(&row, 0)).transpose()
}

fn put_record<'p>(put: &'p PutRecord, record: &mut Known<'p>) -> PutRecordOutcome {
    let current = record.version;
    let expected = match put.expected {
        Expected::Any => true,
        Expected::Absent => current.is_none(),
        Expected::Version(version) => current == Some(version),
    };
    if !expected {
        return PutRecordOutcome::VersionConflict { current };
    }
    record.written = Some((put.value.as_ref(), put.now));
    if put.value.is_none() {
        record.version = None;
        return PutRecordOutcome::Deleted;
    }
    let version = current.unwrap_or(0) + 1;
    record.version = Some(version);
    PutRecordOutcome::Written { version }
}

async fn write_record(cx: &mut Cx<'_>, (namespace, key): Name<'_>, record: &Known<'_>) -> Result<()> {
    let Some((value, now)) = record.written else {
        return Ok(());
    };
    let key = key.as_bytes().to_vec();
    let namespace = namespace.as_bytes().to_vec();
    let (Some(value), Some(version)) = (value, record.version) else {
        let delete = "DELETE FROM records WHERE namespace = ? AND record_key = ?";
        sqlx::query(delete)
            .bind(namespace)
            .bind(key)
            .execute(&mut *cx.sql)
            .await?;
        return Ok(());
    };
    // Whoever made it meanwhile makes the insert fail, and the next look sees it.
    let write = if record.existed {
        "UPDATE records SET value = ?, version = ?, update_time = ? WHERE namespace = ? AND record_key = ?"
    } else {
        "INSERT INTO records (value, version, update_time, namespace, record_key) VALUES (?, ?, ?, ?, ?)"
    };
    sqlx::query(write)
        .bind(value.as_str().to_owned())
        .bind(number(version))
        .bind(datetime(now))
        .bind(namespace)
        .bind(key)
        .execute(&mut *cx.sql)
        .await?;
    Ok(())
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
    const ACCESS: Access = Access::Read;

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let select = "SELECT namespace, record_key, value, version, update_time FROM records \
                      WHERE namespace = ? AND record_key = ?";
        let query = sqlx::query(select)
            .bind(self.namespace.as_bytes().to_vec())
            .bind(self.key.as_bytes().to_vec());
        let row = query.fetch_optional(&mut *cx.sql).await?;
        row.as_ref().map(decode).transpose()
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
    const ACCESS: Access = Access::Read;

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let select = "SELECT namespace, record_key, value, version, update_time FROM records FORCE INDEX (PRIMARY) \
                      WHERE namespace = ? AND record_key >= ? ORDER BY record_key LIMIT ?";
        // The least key after another has a zero byte more.
        let first = self.page.cursor.as_ref().map_or_else(Vec::new, |cursor| {
            let mut key = cursor.0.as_bytes().to_vec();
            key.push(0);
            key
        });
        let rows = sqlx::query(select)
            .bind(self.namespace.as_bytes().to_vec())
            .bind(first)
            .bind(row_limit(self.page.limit))
            .fetch_all(&mut *cx.sql)
            .await?;
        let records = rows.iter().map(decode).collect::<Result<Vec<_>>>()?;
        Ok(page(records, self.page.limit, |record| record.key.clone()))
    }
}

fn decode(row: &MySqlRow) -> Result<Record> {
    Ok(Record {
        namespace: binary_text(row, 0)?,
        key: binary_text(row, 1)?,
        value: Json::from_stored(row.try_get::<&str, _>(2)?),
        version: unsigned(row, 3)?,
        update_time: instant(row, 4)?,
    })
}
