//! Jobs that match a filter. The server leaves out what can't match, as far as it can tell without reading JSON.

use std::sync::Arc;

use jobcore::job::Job;
use jobcore::store::{Cursor, JobFilter, Page, PageRequest, PauseState};

use super::columns::code_number;
use super::listing::row_limit;
use super::stored_job::{decode, job_columns};
use crate::connection::{Access, Cx, Operation};
use crate::error::Result;

/// How many rows are read at once where many of them may not match.
const STEP: i64 = 500;

/// How many steps one page takes at the most: then it ends, however few jobs it shows. About a second.
const MAX_STEPS: usize = 100;

/// Jobs that match a filter.
#[derive(Debug)]
pub(crate) struct ListJobs {
    pub(crate) filter: JobFilter,
    pub(crate) page: PageRequest,
}

#[async_trait::async_trait]
impl Operation for ListJobs {
    type Answer = Page<Arc<Job>>;
    const NAME: &'static str = "list_jobs";
    const ACCESS: Access = Access::Read;

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let filter = Filter::new(&self.filter);
        let limit = self.page.limit;
        let mut after = self
            .page
            .cursor
            .as_ref()
            .map_or(String::new(), |cursor| cursor.0.clone());
        let step = if filter.is_exact() { row_limit(limit) } else { STEP };
        let mut jobs = Vec::new();
        for _ in 0..MAX_STEPS {
            let read = self.step(cx, &filter, &after, step).await?;
            let last_step = i64::try_from(read.len()).unwrap_or(i64::MAX) < step;
            if let Some(last) = read.last() {
                after = last.job_id.as_str().to_owned();
            }
            jobs.extend(read.into_iter().filter(|job| filter.matches(job)));
            if last_step || jobs.len() > limit {
                return Ok(super::listing::page(jobs, limit, |job| {
                    job.job_id.as_str().to_owned()
                }));
            }
        }
        Ok(Page {
            items: jobs,
            next: Some(Cursor(after)),
        })
    }
}

impl ListJobs {
    /// The next jobs by id that may match.
    async fn step(
        &self,
        cx: &mut Cx<'_>,
        filter: &Filter<'_>,
        after: &str,
        limit: i64,
    ) -> Result<Vec<Arc<Job>>> {
        let select = concat!(
            "SELECT ",
            job_columns!(),
            " FROM jobs FORCE INDEX (PRIMARY) WHERE job_id > ? \
             AND (? IS NULL OR LOCATE(?, LOWER(name)) > 0 OR LOCATE(?, LOWER(job_id)) > 0) \
             AND (? IS NULL OR type = ?) AND (? IS NULL OR paused = ?) \
             AND (? IS NULL OR LOCATE(?, definition) > 0) ORDER BY job_id LIMIT ?"
        );
        // The server has other letters in lower case too, which are then no longer those of the text.
        let text = filter.text.clone().filter(|text| text.is_ascii());
        let kind = self.filter.kind.map(|kind| code_number(kind.code()));
        let paused = self.filter.pause.map(|pause| pause == PauseState::Paused);
        let hint = filter.hint();
        let rows = sqlx::query(select)
            .bind(after.to_owned())
            .bind(text.clone())
            .bind(text.clone())
            .bind(text)
            .bind(kind)
            .bind(kind)
            .bind(paused)
            .bind(paused)
            .bind(hint.clone())
            .bind(hint)
            .bind(limit)
            .fetch_all(&mut *cx.sql)
            .await?;
        rows.iter().map(|row| decode(cx, row)).collect()
    }
}

/// A filter, made ready.
struct Filter<'f> {
    filter: &'f JobFilter,
    /// The text in lower case (ASCII).
    text: Option<String>,
}

impl<'f> Filter<'f> {
    fn new(filter: &'f JobFilter) -> Self {
        let text = filter.text.as_ref().map(|text| text.to_ascii_lowercase());
        Self { filter, text }
    }

    /// Whether the server leaves out all that doesn't match.
    fn is_exact(&self) -> bool {
        self.text.is_none() && self.filter.owner.is_none() && self.filter.labels.is_empty()
    }

    /// A text that the definition of each job that matches contains: the longest name that JSON writes as it is.
    fn hint(&self) -> Option<String> {
        let labels = self.filter.labels.iter().flat_map(|(key, value)| [key, value]);
        let names = self.filter.owner.iter().chain(labels);
        let plain = |name: &&String| {
            name.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        names.filter(plain).max_by_key(|name| name.len()).cloned()
    }

    fn matches(&self, job: &Job) -> bool {
        let filter = self.filter;
        let definition = &job.definition;
        let contains = |text: &String| {
            definition.name.to_ascii_lowercase().contains(text.as_str())
                || job.job_id.as_str().to_ascii_lowercase().contains(text.as_str())
        };
        self.text.as_ref().is_none_or(contains)
            && filter.kind.is_none_or(|kind| definition.command.kind == kind)
            && (filter.owner.is_none() || filter.owner == definition.owner)
            && filter
                .pause
                .is_none_or(|pause| job.paused == (pause == PauseState::Paused))
            && filter
                .labels
                .iter()
                .all(|(key, value)| definition.labels.get(key) == Some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_looks_for_the_longest_plain_name() {
        let filter = |owner: Option<&str>, labels: &[(&str, &str)]| JobFilter {
            owner: owner.map(str::to_owned),
            labels: labels
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            ..JobFilter::default()
        };
        for (filter, hint) in [
            (filter(None, &[]), None),
            (filter(Some("anna"), &[]), Some("anna")),
            (filter(Some("anna"), &[("team", "billing")]), Some("billing")),
            (filter(Some("an\"na"), &[]), None),
            (filter(Some("a\\b"), &[("k", "v")]), Some("v")),
        ] {
            assert_eq!(Filter::new(&filter).hint().as_deref(), hint, "{filter:?}");
        }
    }
}
