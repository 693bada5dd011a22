//! Private working directories: one for each task, removed afterwards, and swept up after a crash.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use tokio::task::spawn_blocking;
use uuid::Uuid;

use crate::error::{Error, ErrorKind, Result};

const PREFIX: &str = "jobcore-shell-";

/// The directory in which one executor makes the private directories of its tasks.
///
/// It is locked as long as the executor lives. An executor that starts removes what executors that didn't end well
/// have left under the same base directory: those whose lock is free. Dropping it removes it.
#[derive(Debug)]
pub struct WorkRoot {
    path: PathBuf,
    /// Open and locked; the lock ends with the process at the latest.
    _lock: File,
}

impl WorkRoot {
    /// Makes a root in `base`, usually [`std::env::temp_dir`], and removes abandoned ones.
    ///
    /// # Errors
    /// `InvalidInput` if no directory can be made in `base`.
    pub fn create_in(base: &Path) -> Result<Self> {
        sweep(base);
        Self::create(base).map_err(|error| {
            let message = format_args!("no directory can be made in `{}`", base.display());
            Error::invalid("work root", message).source(error)
        })
    }

    fn create(base: &Path) -> io::Result<Self> {
        let id = Uuid::new_v4();
        // It is locked before it gets the name that others sweep by.
        let (unlocked, path) = (
            base.join(format!(".{PREFIX}{id}")),
            base.join(format!("{PREFIX}{id}")),
        );
        make_private(&unlocked)?;
        let lock = File::open(&unlocked)?;
        lock.try_lock()?;
        fs::rename(&unlocked, &path)?;
        Ok(Self { path, _lock: lock })
    }

    /// The directory for a task: the one that it names, or a new private one.
    pub(super) fn directory(&self, named: Option<&Path>) -> Result<WorkDirectory> {
        if let Some(named) = named {
            return Ok(WorkDirectory {
                path: named.to_owned(),
                ownership: Ownership::Foreign,
            });
        }
        let path = self.path.join(Uuid::new_v4().to_string());
        make_private(&path).map_err(|error| {
            let message = format!("working directory `{}` can't be made", path.display());
            Error::new(ErrorKind::Unavailable, message)
                .backend("shell")
                .source(error)
        })?;
        Ok(WorkDirectory {
            path,
            ownership: Ownership::Private,
        })
    }
}

impl Drop for WorkRoot {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

#[derive(Debug, PartialEq)]
enum Ownership {
    Private,
    /// The job named it, or it is removed already.
    Foreign,
}

/// The working directory of one task. If it is private, dropping it removes it in the background.
#[derive(Debug)]
pub(super) struct WorkDirectory {
    path: PathBuf,
    ownership: Ownership,
}

impl WorkDirectory {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it with all that is in it, if it is private.
    pub(super) async fn remove(mut self) {
        if let Some(path) = self.disown() {
            // An error would be a panic, of which there is none in there, or the end of the runtime.
            let _ = spawn_blocking(move || remove(&path)).await;
        }
    }

    fn disown(&mut self) -> Option<PathBuf> {
        let private = std::mem::replace(&mut self.ownership, Ownership::Foreign) == Ownership::Private;
        private.then(|| std::mem::take(&mut self.path))
    }
}

impl Drop for WorkDirectory {
    fn drop(&mut self) {
        let Some(path) = self.disown() else { return };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || remove(&path))),
            Err(_) => remove(&path),
        }
    }
}

fn make_private(path: &Path) -> io::Result<()> {
    // With its root, if somebody has tidied that away.
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Removes a directory. What can't be removed, such as files of another user, stays and is reported.
fn remove(path: &Path) {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "a working directory can't be removed");
        }
        _ => {}
    }
}

/// Removes the roots in `base` that no living executor holds.
fn sweep(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let ours = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.starts_with(PREFIX));
        // Not following links: whoever may write into `base` could lead us anywhere.
        if !ours || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        if let Ok(root) = File::open(entry.path())
            && root.try_lock().is_ok()
        {
            remove(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn only_abandoned_roots_are_swept() {
        let base = tempfile::tempdir().unwrap();
        let abandoned = base.path().join(format!("{PREFIX}gone"));
        fs::create_dir_all(abandoned.join("task/file")).unwrap();
        let alive = WorkRoot::create_in(base.path()).unwrap();
        let task = alive.directory(None).unwrap();
        let other = WorkRoot::create_in(base.path()).unwrap();
        assert!(!abandoned.exists() && task.path().exists());
        assert_eq!(
            fs::metadata(task.path()).unwrap().permissions().mode() & 0o777,
            0o700
        );
        drop(task);
        drop((alive, other));
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0);
    }
}
