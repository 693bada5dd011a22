//! Lanes: the queues that claims read, one per combination of what a task needs from its executor.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::id::{ExecutorId, JobId, check_name};
use crate::job::{Command, JobKind};

/// What separates the parts of a lane's text, and so can't stand inside them.
pub(crate) const RESERVED: &[char] = &['|', ',', '='];

/// The mark of a lane for suspects.
const QUARANTINE: &str = "quarantine";

/// What a task needs from whoever carries it out, as text: `group|capability|label=value,…|executor`, then
/// `|quarantine` for suspects, and the job where it chooses its executor.
///
/// A node claims only the lanes that it [serves](ExecutorProfile::serves), each by one range of one index, so tasks
/// that it can't run cost it nothing.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Lane(Arc<str>);

impl Lane {
    /// The lane of tasks of `group` that need `capability`, the `labels` and, if given, one `executor`.
    pub fn new(
        group: &str,
        capability: &Capability,
        labels: &BTreeMap<String, String>,
        executor: Option<&ExecutorId>,
    ) -> Self {
        let labels = labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect::<Vec<_>>()
            .join(",");
        let executor = executor.map_or("", ExecutorId::as_str);
        Self(format!("{group}|{capability}|{labels}|{executor}").into())
    }

    /// Takes a lane that a store read back.
    pub fn from_stored(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The lane as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The executor group.
    pub fn group(&self) -> &str {
        self.part(0)
    }

    /// The capability: `handler:NAME`, `shell`, `http`, …
    pub fn capability(&self) -> &str {
        self.part(1)
    }

    /// The required labels.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.part(2).split(',').filter_map(|label| label.split_once('='))
    }

    /// The one executor that may take it, if placement fixed it.
    pub fn executor(&self) -> Option<&str> {
        Some(self.part(3)).filter(|executor| !executor.is_empty())
    }

    /// The lane of one job's tasks alone: for a job that [chooses](crate::placement::Placement::chooses) its executor.
    #[must_use]
    pub fn of_job(&self, job_id: &JobId) -> Self {
        Self(format!("{}|{}|{job_id}", self.first_parts(), self.part(4)).into())
    }

    /// The job whose tasks alone it holds.
    pub fn job(&self) -> Option<JobId> {
        self.0.splitn(6, '|').nth(5).map(JobId::from_stored)
    }

    /// The lane beside this one for tasks whose nodes died again and again: claimed one at a time.
    #[must_use]
    pub fn quarantine(&self) -> Self {
        if self.is_quarantine() {
            self.clone()
        } else {
            match self.job() {
                Some(job_id) => Self(format!("{}|{QUARANTINE}|{job_id}", self.first_parts()).into()),
                None => Self(format!("{}|{QUARANTINE}", self.0).into()),
            }
        }
    }

    /// Whether it holds suspects, which are claimed one at a time.
    pub fn is_quarantine(&self) -> bool {
        self.part(4) == QUARANTINE
    }

    /// Group, capability, labels and executor.
    fn first_parts(&self) -> &str {
        let end = self
            .0
            .match_indices('|')
            .nth(3)
            .map_or(self.0.len(), |(end, _)| end);
        &self.0[..end]
    }

    fn part(&self, n: usize) -> &str {
        self.0.split('|').nth(n).unwrap_or("")
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// What an executor can do: run one handler, or one of the other kinds of job.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Capability(Arc<str>);

impl Capability {
    /// The capability to run the handler `name`.
    ///
    /// # Errors
    /// `InvalidInput` if the name isn't 1 to 64 printable ASCII characters without `|`, `,` and `=`.
    pub fn handler(name: &str) -> Result<Self> {
        check_name("handler", name, RESERVED)?;
        Ok(Self(format!("handler:{name}").into()))
    }

    /// The capability to carry out jobs of `kind`, whatever their command. For [`JobKind::Handler`] use
    /// [`handler`](Self::handler).
    pub fn of_kind(kind: JobKind) -> Self {
        Self(kind.as_str().into())
    }

    /// The capability that `command` needs.
    ///
    /// # Errors
    /// As [`handler`](Self::handler).
    pub fn needed_by(command: &Command) -> Result<Self> {
        match command.kind {
            JobKind::Handler => Self::handler(&command.command),
            kind => Ok(Self::of_kind(kind)),
        }
    }

    /// The capability as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// What an executor node offers: decides which lanes it serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutorProfile {
    /// The group it belongs to; `default` unless told.
    pub group: String,
    /// What it can do.
    pub capabilities: Vec<Capability>,
    /// Its labels, which placement can require or prefer.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// How many attempts it carries out at once.
    pub capacity: u32,
}

impl ExecutorProfile {
    /// Whether the executor `executor_id` with this profile may take tasks from `lane`.
    pub fn serves(&self, executor_id: &ExecutorId, lane: &Lane) -> bool {
        lane.group() == self.group
            && lane
                .executor()
                .is_none_or(|executor| executor == executor_id.as_str())
            && self
                .capabilities
                .iter()
                .any(|capability| capability.as_str() == lane.capability())
            && lane
                .labels()
                .all(|(key, value)| self.labels.get(key).is_some_and(|own| own == value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_serves_lanes_whose_needs_it_meets() {
        let greet = Capability::handler("greet").unwrap();
        let labels = BTreeMap::from([("gpu".into(), "yes".into()), ("zone".into(), "eu".into())]);
        let id = ExecutorId::new("e1").unwrap();
        let profile = ExecutorProfile {
            group: "default".into(),
            capabilities: vec![greet.clone()],
            labels,
            capacity: 1,
        };
        let needs = |text: &str| BTreeMap::from([("gpu".to_owned(), text.to_owned())]);
        let none = BTreeMap::new();
        assert!(profile.serves(&id, &Lane::new("default", &greet, &none, None)));
        assert!(profile.serves(&id, &Lane::new("default", &greet, &needs("yes"), Some(&id))));
        assert!(!profile.serves(&id, &Lane::new("default", &greet, &needs("no"), None)));
        assert!(!profile.serves(&id, &Lane::new("other", &greet, &none, None)));
        assert!(!profile.serves(
            &id,
            &Lane::new("default", &Capability::of_kind(JobKind::Shell), &none, None)
        ));
        let other = ExecutorId::new("e2").unwrap();
        assert!(!profile.serves(&id, &Lane::new("default", &greet, &none, Some(&other))));
    }

    #[test]
    fn a_quarantine_is_served_by_whoever_serves_its_lane() {
        let id = ExecutorId::new("e1").unwrap();
        let shell = Capability::of_kind(JobKind::Shell);
        let lane = Lane::new("default", &shell, &BTreeMap::new(), Some(&id));
        let profile = ExecutorProfile {
            group: "default".into(),
            capabilities: vec![shell],
            labels: BTreeMap::new(),
            capacity: 1,
        };
        let quarantine = lane.quarantine();
        assert!(quarantine.is_quarantine() && !lane.is_quarantine() && profile.serves(&id, &quarantine));
        assert_eq!(quarantine.quarantine(), quarantine);
    }

    #[test]
    fn a_job_has_a_lane_of_its_own() {
        let shell = Capability::of_kind(JobKind::Shell);
        let common = Lane::new("default", &shell, &BTreeMap::new(), None);
        let job_id = JobId::new("a|quarantine").unwrap();
        let own = common.of_job(&job_id);
        let quarantine = own.quarantine();
        assert_eq!((own.job(), common.job()), (Some(job_id.clone()), None));
        assert!(!own.is_quarantine() && quarantine.is_quarantine() && quarantine.job() == Some(job_id));
        assert_eq!(common.quarantine().job(), None);
        assert_eq!((own.group(), own.executor()), ("default", None));
    }

    #[test]
    fn a_capability_cannot_forge_a_lane() {
        assert!(Capability::handler("a|b").is_err());
    }
}
