//! Schedules and calendars in JSON, and schedules in one line for logs.

use std::fmt;
use std::time::Duration;

use serde::de::{self, Deserializer, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use super::calendar::weekday_names;
use super::{Calendar, GapPolicy, RepeatPolicy, Rule, Schedule, duration};
use crate::{Error, Result, Timestamp};

/// A schedule as it is written.
#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct ScheduleText {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cron: Option<CronText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    every: Option<DurationText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    every_after: Option<DurationText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    once: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start_time: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end_time: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    jitter: Option<DurationText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    excluding: Option<Calendar>,
}

#[derive(Serialize, Deserialize)]
struct DurationText(
    #[serde(
        serialize_with = "crate::duration::serialize",
        deserialize_with = "duration::deserialize"
    )]
    Duration,
);

#[derive(Serialize)]
struct CronText {
    expression: String,
    time_zone: String,
    gap: GapPolicy,
    overlap: RepeatPolicy,
}

impl From<&Schedule> for ScheduleText {
    fn from(schedule: &Schedule) -> Self {
        let mut text = Self {
            start_time: schedule.start_time(),
            end_time: schedule.end_time(),
            jitter: (!schedule.max_jitter().is_zero()).then(|| DurationText(schedule.max_jitter())),
            excluding: schedule.calendar().cloned(),
            ..Self::default()
        };
        match schedule.rule() {
            Rule::Cron {
                expression,
                time_zone,
                gap,
                overlap,
            } => {
                text.cron = Some(CronText {
                    expression: expression.to_owned(),
                    time_zone: time_zone.to_owned(),
                    gap,
                    overlap,
                });
            }
            Rule::Every { interval } => text.every = Some(DurationText(interval)),
            Rule::EveryAfter { interval } => text.every_after = Some(DurationText(interval)),
            Rule::Once { time } => text.once = Some(time),
        }
        text
    }
}

impl TryFrom<ScheduleText> for Schedule {
    type Error = Error;

    fn try_from(text: ScheduleText) -> Result<Self> {
        let mut schedule = match (text.cron, text.every, text.every_after, text.once) {
            (Some(cron), None, None, None) => cron.schedule()?,
            (None, Some(every), None, None) => Self::every(every.0),
            (None, None, Some(every), None) => Self::every_after(every.0),
            (None, None, None, Some(time)) => Self::once(time),
            _ => {
                return Err(Error::invalid(
                    "schedule",
                    "write exactly one of `cron`, `every`, `every_after` and `once`",
                ));
            }
        };
        if let Some(time) = text.start_time {
            schedule = schedule.starting(time);
        }
        if let Some(time) = text.end_time {
            schedule = schedule.ending(time);
        }
        if let Some(jitter) = text.jitter {
            schedule = schedule.jitter(jitter.0);
        }
        if let Some(calendar) = text.excluding {
            schedule = schedule.excluding(calendar);
        }
        schedule.check_settings()?;
        Ok(schedule)
    }
}

impl CronText {
    fn schedule(&self) -> Result<Schedule> {
        Ok(Schedule::cron(&self.expression)?
            .in_zone(&self.time_zone)?
            .on_gap(self.gap)
            .on_overlap(self.overlap))
    }
}

impl<'de> Deserialize<'de> for CronText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CronVisitor)
    }
}

/// Takes the expression alone as well.
struct CronVisitor;

impl<'de> Visitor<'de> for CronVisitor {
    type Value = CronText;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a cron expression, or an object with `expression`, `time_zone`, `gap` and `overlap`")
    }

    fn visit_str<E: de::Error>(self, expression: &str) -> Result<CronText, E> {
        Ok(CronText {
            expression: expression.to_owned(),
            time_zone: utc(),
            gap: GapPolicy::default(),
            overlap: RepeatPolicy::default(),
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<CronText, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Object {
            expression: String,
            #[serde(default = "utc")]
            time_zone: String,
            #[serde(default)]
            gap: GapPolicy,
            #[serde(default)]
            overlap: RepeatPolicy,
        }
        let object = Object::deserialize(MapAccessDeserializer::new(map))?;
        Ok(CronText {
            expression: object.expression,
            time_zone: object.time_zone,
            gap: object.gap,
            overlap: object.overlap,
        })
    }
}

fn utc() -> String {
    "UTC".to_owned()
}

impl Serialize for Schedule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        ScheduleText::from(self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Schedule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ScheduleText::deserialize(deserializer)?
            .try_into()
            .map_err(de::Error::custom)
    }
}

impl fmt::Display for Schedule {
    /// One line for logs: the rule, and the zone of a cron rule.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rule() {
            Rule::Cron {
                expression,
                time_zone,
                ..
            } => write!(f, "cron `{expression}` in {time_zone}"),
            Rule::Every { interval } => write!(f, "every {}", duration::format(interval)),
            Rule::EveryAfter { interval } => write!(f, "{} after the last", duration::format(interval)),
            Rule::Once { time } => write!(f, "once at {time}"),
        }
    }
}

/// A calendar as it is written.
#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct CalendarText {
    #[serde(skip_serializing_if = "Option::is_none")]
    time_zone: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dates: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    yearly: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    weekdays: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    daily: Vec<String>,
}

impl Serialize for Calendar {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        CalendarText {
            time_zone: self.zone.map(|zone| zone.name().to_owned()),
            dates: self.dates.iter().map(ToString::to_string).collect(),
            yearly: self.yearly.iter().map(ToString::to_string).collect(),
            weekdays: weekday_names(self.weekdays)
                .into_iter()
                .map(str::to_owned)
                .collect(),
            daily: self.daily.iter().map(ToString::to_string).collect(),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Calendar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = CalendarText::deserialize(deserializer)?;
        text.calendar().map_err(de::Error::custom)
    }
}

impl CalendarText {
    fn calendar(&self) -> Result<Calendar> {
        let mut calendar = Calendar::new();
        if let Some(name) = &self.time_zone {
            calendar = calendar.in_zone(name)?;
        }
        for text in &self.dates {
            calendar = calendar.dates(text)?;
        }
        for text in &self.yearly {
            calendar = calendar.yearly(text)?;
        }
        for name in &self.weekdays {
            calendar = calendar.weekdays(name)?;
        }
        for text in &self.daily {
            calendar = calendar.daily(text)?;
        }
        Ok(calendar)
    }
}
