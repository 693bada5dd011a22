//! The file, and the transaction around every call.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jobcore::clock::Clock;
use jobcore::store::MAX_BATCH;
use jobcore::{Error, ErrorKind, Result, Timestamp};
use parking_lot::Mutex;

use crate::state::State;

/// A store in one JSON file.
pub struct FileStore {
    path: PathBuf,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

impl FileStore {
    /// Opens the file at `path`, or begins an empty one. `clock` is the store's own clock.
    ///
    /// # Errors
    /// `Unavailable` if the file can't be read, `Corrupt` if it can't be understood.
    pub fn open(path: impl Into<PathBuf>, clock: Arc<dyn Clock>) -> Result<Self> {
        let path = path.into();
        let state = match std::fs::read(&path) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|error| failed(ErrorKind::Corrupt, &path, error))?
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => State::default(),
            Err(error) => return Err(failed(ErrorKind::Unavailable, &path, error)),
        };
        Ok(Self {
            path,
            clock,
            state: Mutex::new(state),
        })
    }

    pub(crate) fn time(&self) -> Timestamp {
        self.clock.now()
    }

    /// Looks at the state.
    pub(crate) fn read<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(&self.state.lock())
    }

    /// Changes the state wholly, file included, or not at all.
    pub(crate) fn write<R>(&self, change: impl FnOnce(&mut State) -> R) -> Result<R> {
        let mut state = self.state.lock();
        let mut changed = state.clone();
        let answer = change(&mut changed);
        self.save(&changed)
            .map_err(|error| failed(ErrorKind::Unavailable, &self.path, error))?;
        *state = changed;
        Ok(answer)
    }

    /// Changes the state by each item of a batch, one after the other.
    pub(crate) fn write_each<T, R>(
        &self,
        batch: Vec<T>,
        mut change: impl FnMut(&mut State, T) -> R,
    ) -> Result<Vec<R>> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        if batch.len() > MAX_BATCH {
            return Err(Error::invalid(
                "batch",
                format_args!("has {} items, at most {MAX_BATCH} are allowed", batch.len()),
            ));
        }
        self.write(|state| batch.into_iter().map(|item| change(state, item)).collect())
    }

    /// A whole new file takes the place of the old one, so that a crash leaves one or the other.
    fn save(&self, state: &State) -> std::io::Result<()> {
        let new = self.path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec(state)?)?;
        file.sync_all()?;
        std::fs::rename(&new, &self.path)
    }
}

impl std::fmt::Debug for FileStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileStore")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

fn failed(kind: ErrorKind, path: &Path, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(kind, format!("{}: {error}", path.display()))
        .backend("file")
        .source(error)
}
