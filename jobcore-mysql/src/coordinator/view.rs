//! What those who watch want to see.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use jobcore::coordinator::{ConfigValue, Member};
use jobcore::json::Json;
use sqlx::Row;

use super::lease;
use super::revision;
use super::seat::Kind;
use crate::connection::{Access, Cx, Operation};
use crate::error::Result;
use crate::queries::columns;
use crate::queries::rows::RowStatement;

/// Asks whether there is news.
#[derive(Debug)]
pub(crate) struct Look;

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Another than at the last look: something changed.
    pub(crate) revision: i64,
    /// A session has expired, and nobody has taken it away yet.
    pub(crate) expired: bool,
}

#[async_trait::async_trait]
impl Operation for Look {
    type Answer = Seen;
    const NAME: &'static str = "look";
    const ACCESS: Access = Access::Read;

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Seen> {
        let row = sqlx::query(
            "SELECT revision, EXISTS (SELECT 1 FROM coordination_sessions \
             WHERE expire_time <= COALESCE(?, UTC_TIMESTAMP(6))) \
             FROM coordination_revision WHERE only_row = 1",
        )
        .bind(lease::injected(cx))
        .fetch_optional(&mut *cx.sql)
        .await?;
        let row = row.ok_or_else(revision::missing)?;
        Ok(Seen {
            revision: row.try_get(0)?,
            expired: row.try_get::<i64, _>(1)? != 0,
        })
    }
}

/// Reads what is watched.
#[derive(Debug, Default)]
pub(crate) struct Read {
    pub(crate) groups: Vec<String>,
    pub(crate) keys: Vec<String>,
    /// Leaderships and locks that are waited for.
    pub(crate) seats: Vec<(Kind, String)>,
}

/// What is there. What isn't is missing.
#[derive(Debug, Default)]
pub(crate) struct View {
    /// By id.
    pub(crate) groups: BTreeMap<String, Vec<Member>>,
    pub(crate) values: BTreeMap<String, ConfigValue>,
    pub(crate) taken: BTreeSet<(i8, String)>,
}

#[async_trait::async_trait]
impl Operation for Read {
    type Answer = View;
    const NAME: &'static str = "read_watched";
    const ACCESS: Access = Access::Read;

    async fn run(&self, cx: &mut Cx<'_>) -> Result<View> {
        let mut view = View::default();
        let bytes = |name: &String| name.clone().into_bytes();
        for row in READ_MEMBERS
            .fetch(cx.sql, &self.groups, |query, group| query.bind(bytes(group)))
            .await?
        {
            let (group, id) = (columns::binary_text(&row, 0)?, columns::binary_text(&row, 1)?);
            if let Some(data) = json(row.try_get(2)?, &group) {
                view.groups.entry(group).or_default().push(Member { id, data });
            }
        }
        for members in view.groups.values_mut() {
            members.sort_by(|a, b| a.id.cmp(&b.id));
        }
        for row in READ_VALUES
            .fetch(cx.sql, &self.keys, |query, key| query.bind(bytes(key)))
            .await?
        {
            let (key, version) = (columns::binary_text(&row, 0)?, columns::unsigned(&row, 1)?);
            if let Some(value) = json(row.try_get(2)?, &key) {
                view.values.insert(key, ConfigValue { value, version });
            }
        }
        for row in READ_TAKEN
            .fetch(cx.sql, &self.seats, |query, (kind, name)| {
                query.bind(kind.code()).bind(bytes(name))
            })
            .await?
        {
            let name = columns::binary_text(&row, 1)?;
            view.taken.insert((row.try_get(0)?, name));
        }
        Ok(view)
    }
}

/// What somebody wrote there by hand may be no JSON; nobody else's watch should end for it.
fn json(text: Option<String>, name: &str) -> Option<Json> {
    match Json::parse(text.as_deref().unwrap_or_default()) {
        Ok(json) => Some(json),
        Err(error) => {
            tracing::warn!(name, %error, "left out what isn't JSON in a coordination table");
            None
        }
    }
}

static READ_MEMBERS: LazyLock<RowStatement> = LazyLock::new(|| {
    RowStatement::list(
        "SELECT h.name, h.id, h.data FROM coordination_holds h \
         JOIN coordination_sessions s ON s.session_id = h.session_id WHERE h.kind = 1 AND h.name IN",
        "",
    )
});

static READ_VALUES: LazyLock<RowStatement> = LazyLock::new(|| {
    RowStatement::list(
        "SELECT config_key, version, value FROM coordination_config WHERE value IS NOT NULL AND config_key IN",
        "",
    )
});

static READ_TAKEN: LazyLock<RowStatement> = LazyLock::new(|| {
    RowStatement::any(
        "SELECT h.kind, h.name FROM coordination_holds h \
         JOIN coordination_sessions s ON s.session_id = h.session_id WHERE",
        "(h.kind = ? AND h.name = ? AND h.id = '')",
        "",
    )
});
