//! Reads a cron expression: its fields, or the name that stands for them.

use super::error::CronError;
use super::fields::{Days, Fields};
use super::reader::{DAY, Field, HOUR, MINUTE, MONTH, SECOND, WEEKDAY, Word, YEAR};

/// The longest expression that is read, in bytes: what the `cron_expression` column of a SQL store holds.
pub const MAX_EXPRESSION: usize = 100;

/// Reads `expression`, which may also be one of the names that begin with `@`.
pub(super) fn parse(expression: &str) -> Result<Fields, CronError> {
    if let Some(at) = expression.find(|c: char| !c.is_ascii() || c.is_ascii_control() && c != '\t') {
        let found = expression[at..].chars().next().unwrap_or_default();
        return Err(CronError::new(
            at,
            1,
            format!("`{}` has no meaning here", found.escape_debug()),
        ));
    }
    if expression.len() > MAX_EXPRESSION {
        let message = format!(
            "the expression has {} characters and may have {MAX_EXPRESSION}; split it into several jobs",
            expression.len()
        );
        return Err(CronError::new(MAX_EXPRESSION, 1, message));
    }
    match words(expression).next() {
        Some(word) if word.text.starts_with('@') => nickname(expression, word),
        _ => fields(expression),
    }
}

/// The expression that a name such as `@daily` stands for.
fn nickname(expression: &str, word: Word<'_>) -> Result<Fields, CronError> {
    if let Some(more) = words(expression).nth(1) {
        let message = format!("nothing may follow `{}`", word.text);
        return Err(CronError::new(more.at, more.text.len(), message));
    }
    let stands_for = match word.text.to_ascii_lowercase().as_str() {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        _ => {
            let message = format!(
                "`{}` is unknown; write @yearly, @annually, @monthly, @weekly, @daily, @midnight or @hourly",
                word.text
            );
            return Err(CronError::new(word.at, word.text.len(), message));
        }
    };
    fields(stands_for)
}

fn fields(expression: &str) -> Result<Fields, CronError> {
    let mut found: [Word<'_>; 7] = [Word { at: 0, text: "" }; 7];
    let mut count = 0;
    for word in words(expression) {
        let Some(slot) = found.get_mut(count) else {
            return Err(CronError::new(
                word.at,
                expression.trim_end().len() - word.at,
                "there are more than the 7 fields second minute hour day month weekday year",
            ));
        };
        *slot = word;
        count += 1;
    }
    let (second, rest) = match count {
        5 => (None, &found[..5]),
        6 => (Some(found[0]), &found[1..6]),
        7 => (Some(found[0]), &found[1..6]),
        _ => {
            let message = format!(
                "{count} of 5 fields: minute hour day month weekday, or 6 with a second before them, \
                 or 7 with a year after them too"
            );
            return Err(CronError::new(expression.trim_end().len(), 1, message));
        }
    };
    let fields = Fields {
        seconds: second.map_or(Ok(1), |word| values(SECOND, word))?,
        minutes: values(MINUTE, rest[0])?,
        hours: values(HOUR, rest[1])? as u32,
        months: values(MONTH, rest[3])? as u16,
        days: days(rest[2], rest[4])?,
        years: if count == 7 { years(found[6])? } else { None },
        follows_elapsed_time: rest[0].is_star() || rest[1].is_star(),
    };
    check_that_it_fires(&fields, rest)?;
    Ok(fields)
}

fn values(field: Field, word: Word<'_>) -> Result<u64, CronError> {
    field.read(word).map(|(set, _)| set.values(field.min))
}

fn years(word: Word<'_>) -> Result<Option<Box<[u64; 3]>>, CronError> {
    let (years, _) = YEAR.read(word)?;
    Ok((word.text != "*").then(|| Box::new(years.0)))
}

fn days(of_month: Word<'_>, of_week: Word<'_>) -> Result<Days, CronError> {
    let (dates, special_dates) = DAY.read(of_month)?;
    let (weekdays, special_weekdays) = WEEKDAY.read(of_week)?;
    Ok(Days {
        of_month: dates.values(DAY.min) as u32,
        of_week: weekdays.values(WEEKDAY.min) as u8,
        nth: special_weekdays.nth,
        both: of_month.is_star() || of_week.is_star(),
        ..special_dates
    })
}

fn check_that_it_fires(fields: &Fields, rest: &[Word<'_>]) -> Result<(), CronError> {
    if fields.ever_match() {
        return Ok(());
    }
    let message = format!(
        "this never fires: no date has day `{}`, month `{}` and weekday `{}`{}",
        rest[2].text,
        rest[3].text,
        rest[4].text,
        if fields.years.is_some() {
            " in those years"
        } else {
            ""
        },
    );
    let end = rest[4].at + rest[4].text.len();
    Err(CronError::new(rest[2].at, end - rest[2].at, message))
}

fn words(expression: &str) -> impl Iterator<Item = Word<'_>> {
    let mut next = 0;
    expression
        .split([' ', '\t'])
        .map(move |text| {
            let at = next;
            next += text.len() + 1;
            Word { at, text }
        })
        .filter(|word| !word.text.is_empty())
}
