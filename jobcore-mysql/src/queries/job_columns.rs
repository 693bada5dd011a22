//! The columns of a job that people write: what a definition shows in them, and what they say over it.

use jobcore::Error;
use jobcore::job::{JobDefinition, JobKind};
use jobcore::schedule::Rule;
use serde_json::{Value, json};
use sqlx::Row;
use sqlx::mysql::MySqlRow;

use super::columns::code_number;
use crate::error::Result;

/// The longest cron expression that its column holds, in characters. Of a longer one only the definition knows.
const MAX_EXPRESSION: usize = 100;

/// What the columns of a job say that are enough for a row written by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct JobColumns<'r> {
    pub(crate) name: &'r str,
    pub(crate) command: &'r str,
    /// The code; any number, in a row written by hand.
    pub(crate) kind: i8,
    pub(crate) priority: i32,
    pub(crate) cron_expression: Option<&'r str>,
    pub(crate) timeout: i32,
    pub(crate) retry_count: i32,
    pub(crate) retry_interval: i32,
}

impl<'r> JobColumns<'r> {
    /// Reads them from a row, beginning at column `first`.
    pub(crate) fn decode(row: &'r MySqlRow, first: usize) -> Result<Self> {
        Ok(Self {
            name: row.try_get(first)?,
            command: row.try_get(first + 1)?,
            kind: row.try_get(first + 2)?,
            priority: row.try_get(first + 3)?,
            cron_expression: row.try_get(first + 4)?,
            timeout: row.try_get(first + 5)?,
            retry_count: row.try_get(first + 6)?,
            retry_interval: row.try_get(first + 7)?,
        })
    }

    /// What they show of a definition.
    pub(crate) fn of(definition: &'r JobDefinition) -> Self {
        let expression = definition.schedule.as_ref().and_then(|schedule| {
            let Rule::Cron { expression, .. } = schedule.rule() else {
                return None;
            };
            Some(expression)
        });
        Self {
            name: &definition.name,
            command: &definition.command.command,
            kind: code_number(definition.command.kind.code()),
            priority: definition.priority,
            cron_expression: expression.filter(|expression| is_shown(expression)),
            timeout: definition.timeout.map_or(0, |timeout| integer(timeout.as_secs())),
            retry_count: integer(definition.retry.retry_count),
            retry_interval: integer(definition.retry.retry_interval.as_secs()),
        }
    }

    /// The definition that `text` holds, or an empty one, with what these columns say put over it.
    pub(crate) fn over(&self, text: Option<&str>) -> Result<JobDefinition, Error> {
        let mut definition: Value = match text {
            Some(text) => serde_json::from_str(text).map_err(|error| Error::invalid("definition", error))?,
            None => json!({}),
        };
        if !definition.is_object() {
            return Err(Error::invalid("definition", "must be a JSON object, or NULL"));
        }
        if !definition["retry"].is_object() {
            definition["retry"] = json!({});
        }
        definition["name"] = self.name.into();
        definition["command"] = self.command.into();
        definition["type"] = JobKind::from_code(self.kind.into())?.as_str().into();
        definition["priority"] = self.priority.into();
        put_number(&mut definition["timeout"], self.timeout);
        if definition["timeout"].as_f64() == Some(0.0) {
            definition["timeout"] = Value::Null;
        }
        put_number(&mut definition["retry"]["retry_count"], self.retry_count);
        put_number(&mut definition["retry"]["retry_interval"], self.retry_interval);
        put_expression(&mut definition, self.cron_expression);
        let definition: JobDefinition =
            serde_json::from_value(definition).map_err(|error| Error::invalid("row", error))?;
        definition.validate()?;
        Ok(definition)
    }
}

/// The nearest number that a column holds.
fn integer(number: impl TryInto<i32>) -> i32 {
    number.try_into().unwrap_or(i32::MAX)
}

fn is_shown(expression: &str) -> bool {
    expression.chars().count() <= MAX_EXPRESSION
}

/// Puts a column's number in its place, unless it is what the column shows of one that is finer or larger.
fn put_number(place: &mut Value, number: i32) {
    let shown = place.as_f64().map(|exact| exact.trunc().min(i32::MAX.into()));
    if shown != Some(number.into()) {
        *place = number.into();
    }
}

/// Puts a cron expression into a definition's schedule, beside the settings that are there.
fn put_expression(definition: &mut Value, expression: Option<&str>) {
    let cron = &definition["schedule"]["cron"];
    let present = cron.as_str().or_else(|| cron["expression"].as_str());
    let is_shown = present.is_some_and(is_shown);
    match expression {
        Some(expression) if cron.is_object() => {
            definition["schedule"]["cron"]["expression"] = expression.into();
        }
        Some(expression) => definition["schedule"] = json!({ "cron": expression }),
        None if is_shown => definition["schedule"] = Value::Null,
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jobcore::job::Command;
    use jobcore::schedule::Schedule;

    use super::*;

    fn definition() -> JobDefinition {
        let mut definition = JobDefinition::new("Greet", Command::shell("echo hello"));
        definition.timeout = Some(Duration::from_millis(500));
        definition.retry.retry_count = u32::MAX;
        definition.retry.retry_interval = Duration::from_millis(1_500);
        definition.max_concurrent = Some(2);
        let schedule = Schedule::cron("0 9 * * *").unwrap();
        definition.schedule = Some(schedule.in_zone("Europe/Berlin").unwrap());
        definition
    }

    fn text(definition: &JobDefinition) -> String {
        serde_json::to_string(definition).unwrap()
    }

    #[test]
    fn what_a_definition_shows_changes_nothing_of_it() {
        let mut definition = definition();
        for schedule in [
            definition.schedule.clone(),
            Some(Schedule::cron("0 10 * * *").unwrap()),
            Some(Schedule::every(Duration::from_secs(5))),
            None,
        ] {
            definition.schedule = schedule;
            let columns = JobColumns::of(&definition);
            assert_eq!(columns.over(Some(&text(&definition))).unwrap(), definition);
        }
    }

    #[test]
    fn a_change_by_hand_keeps_what_the_columns_do_not_say() {
        let before = definition();
        let columns = JobColumns {
            priority: 7,
            cron_expression: Some("0 10 * * *"),
            timeout: 60,
            ..JobColumns::of(&before)
        };
        let after = columns.over(Some(&text(&before))).unwrap();
        let schedule = Schedule::cron("0 10 * * *")
            .unwrap()
            .in_zone("Europe/Berlin")
            .unwrap();
        let expected = JobDefinition {
            priority: 7,
            schedule: Some(schedule),
            timeout: Some(Duration::from_secs(60)),
            ..before
        };
        assert_eq!(after, expected);
    }

    #[test]
    fn a_schedule_ends_where_its_expression_is_taken_away() {
        let before = definition();
        let columns = JobColumns {
            cron_expression: None,
            ..JobColumns::of(&before)
        };
        assert_eq!(columns.over(Some(&text(&before))).unwrap().schedule, None);
    }

    #[test]
    fn what_no_job_can_be_is_refused_with_its_reason() {
        let before = definition();
        let columns = JobColumns::of(&before);
        let bad = [
            (JobColumns { kind: 99, ..columns }, None, "99"),
            (
                JobColumns {
                    cron_expression: Some("every day"),
                    ..columns
                },
                None,
                "cron",
            ),
            (
                JobColumns {
                    retry_count: -1,
                    ..columns
                },
                None,
                "-1",
            ),
            (JobColumns { name: "", ..columns }, None, "name"),
            (columns, Some("[]"), "object"),
            (columns, Some("{"), "definition"),
        ];
        for (columns, text, reason) in bad {
            let error = columns.over(text).unwrap_err();
            assert!(error.message().contains(reason), "{error} should name {reason}");
        }
    }
}
