//! The journal: one line for each attempt that a handler really began, whatever the store says of it.
//!
//! Lines are appended with one write each (`O_APPEND`), so that several processes share the file and a kill never tears
//! a line.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jobcore::TaskContext;
use jobcore::id::TaskId;
use jobcore::lease::FencingToken;

/// An attempt that began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Began {
    /// The task.
    pub task_id: TaskId,
    /// The attempt.
    pub attempt: u32,
    /// The lease that it ran under.
    pub token: FencingToken,
}

/// The file.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
}

impl Journal {
    /// Opens the file, and makes it if there is none.
    ///
    /// # Errors
    /// The file system's.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let path = path.to_owned();
        Ok(Self { file, path })
    }

    /// Writes down that an attempt began.
    ///
    /// # Errors
    /// The file system's.
    pub fn began(&self, cx: &TaskContext) -> io::Result<()> {
        let line = format!("{} {} {}\n", cx.task_id(), cx.attempt(), cx.fencing_token());
        (&self.file).write_all(line.as_bytes())
    }

    /// Everything that was written down, in order.
    ///
    /// # Errors
    /// The file system's; `InvalidData` names a line that can't be read.
    pub fn read(&self) -> io::Result<Vec<Began>> {
        let text = std::fs::read_to_string(&self.path)?;
        let unreadable =
            |line: &str| io::Error::new(io::ErrorKind::InvalidData, format!("no journal line: {line:?}"));
        text.lines()
            .map(|line| parse(line).ok_or_else(|| unreadable(line)))
            .collect()
    }
}

fn parse(line: &str) -> Option<Began> {
    let mut words = line.split(' ');
    let task_id = TaskId::new(words.next()?).ok()?;
    let attempt = words.next()?.parse().ok()?;
    let token = FencingToken(words.next()?.parse().ok()?);
    words.next().is_none().then_some(Began {
        task_id,
        attempt,
        token,
    })
}
