//! Writing a configuration value.

use jobcore::coordinator::PutConfigOutcome;
use jobcore::json::Json;
use sqlx::Row;

use super::revision;
use crate::connection::{Access, Cx, Operation};
use crate::error::Result;
use crate::queries::columns;

/// Writes or removes a value whose version is still `expected`.
#[derive(Debug)]
pub(crate) struct PutConfig {
    pub(crate) key: String,
    pub(crate) value: Option<Json>,
    pub(crate) expected: Option<u64>,
}

#[async_trait::async_trait]
impl Operation for PutConfig {
    type Answer = PutConfigOutcome;
    const NAME: &'static str = "put_config";
    const ACCESS: Access = Access::Write;

    async fn run(&self, cx: &mut Cx<'_>) -> Result<PutConfigOutcome> {
        let revision = revision::lock(cx).await?;
        let found = sqlx::query(
            "SELECT version, value IS NOT NULL FROM coordination_config WHERE config_key = ? FOR UPDATE",
        )
        .bind(self.key.clone().into_bytes())
        .fetch_optional(&mut *cx.sql)
        .await?;
        let (last, is_set) = match &found {
            Some(row) => (columns::unsigned(row, 0)?, row.try_get::<i64, _>(1)? != 0),
            None => (0, false),
        };
        let current = is_set.then_some(last);
        if current != self.expected {
            return Ok(PutConfigOutcome::Conflict { current });
        }
        let version = last + 1;
        sqlx::query(
            "INSERT INTO coordination_config (config_key, version, value) VALUES (?, ?, ?) \
             ON DUPLICATE KEY UPDATE version = VALUES(version), value = VALUES(value)",
        )
        .bind(self.key.clone().into_bytes())
        .bind(columns::number(version))
        .bind(columns::json_text(self.value.as_ref()))
        .execute(&mut *cx.sql)
        .await?;
        revision::advance(cx, revision).await?;
        Ok(match self.value {
            Some(_) => PutConfigOutcome::Written { version },
            None => PutConfigOutcome::Removed,
        })
    }
}
