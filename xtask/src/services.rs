//! The servers that tests talk to: installed and started for the first step that needs them, stopped at the end.

mod apt;
mod mariadb;

use std::sync::mpsc::Receiver;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub(crate) use mariadb::MARIADB;

/// One of them.
#[derive(Debug)]
pub(crate) struct Service {
    /// Its name for `cargo xtask services`.
    pub(crate) name: &'static str,
    /// What is installed and started, for people.
    pub(crate) about: &'static str,
    /// The environment variable that tells tests where it is. If it is set, that server is used and none started.
    pub(crate) variable: &'static str,
    /// Installs it if it is missing, and starts it on fresh data.
    start: fn() -> Result<Started, String>,
}

/// All of them: a further one is a file beside `mariadb.rs`, and its line here.
pub(crate) const ALL: &[&Service] = &[&MARIADB];

/// What a service gives when it has started.
struct Started {
    /// What tests find in their environment.
    variables: Vec<(&'static str, String)>,
    /// Ends the server when it is dropped. It dies with this process anyway; a drop also removes its files.
    server: Box<dyn Send>,
}

/// Those that run, of the whole program: Ctrl-C stops them from another thread.
static RUNNING: Mutex<Vec<(&'static str, Started)>> = Mutex::new(Vec::new());

fn running() -> MutexGuard<'static, Vec<(&'static str, Started)>> {
    // Every change is one push or one taking of all, so a panic elsewhere leaves it whole.
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts those that don't run yet.
///
/// # Errors
/// What to do by hand, if one can't be installed; why it didn't start.
pub(crate) fn start(needed: &[&'static Service]) -> Result<(), String> {
    let mut running = running();
    for service in needed {
        let Service { name, variable, .. } = service;
        if running.iter().any(|(other, _)| other == name) {
            continue;
        }
        if std::env::var_os(variable).is_some_and(|value| !value.is_empty()) {
            println!("{name}: the one of {variable}");
            continue;
        }
        println!("{name}: starting");
        let started = (service.start)().map_err(|reason| format!("{name}: {reason}"))?;
        running.push((name, started));
    }
    Ok(())
}

/// What tests need in their environment to find those that run.
pub(crate) fn variables() -> Vec<(&'static str, String)> {
    running()
        .iter()
        .flat_map(|(_, started)| started.variables.clone())
        .collect()
}

/// Ends all, and removes their data.
pub(crate) fn stop() {
    let mut running = running();
    for (name, Started { server, .. }) in running.drain(..).rev() {
        drop(server);
        println!("{name}: stopped");
    }
}

/// The services with these names; all, if there is none.
///
/// # Errors
/// A sentence that names an unknown service and the known ones.
pub(crate) fn selected(names: &[String]) -> Result<Vec<&'static Service>, String> {
    let known = |name: &String| ALL.iter().any(|service| service.name == name);
    if let Some(unknown) = names.iter().find(|name| !known(name)) {
        let names = ALL
            .iter()
            .map(|service| service.name)
            .collect::<Vec<_>>()
            .join(", ");
        return Err(format!(
            "there is no service {unknown:?}; the services are: {names}"
        ));
    }
    let named = |service: &&&Service| names.is_empty() || names.iter().any(|name| name == service.name);
    Ok(ALL.iter().filter(named).copied().collect())
}

/// Starts them for a person to play with, until `interrupted`.
///
/// # Errors
/// Those of [`start`].
pub(crate) fn serve(services: &[&'static Service], interrupted: &Receiver<()>) -> Result<(), String> {
    let started = start(services);
    if started.is_ok() {
        println!("\nFor another shell:\n");
        for (variable, value) in variables() {
            println!("export {variable}='{value}'");
        }
        println!("\nCtrl-C stops it all and removes the data.");
        // Nobody can interrupt any more if this fails, so that it is time to end as well.
        let _ = interrupted.recv();
    }
    stop();
    started
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    static STARTED: AtomicU32 = AtomicU32::new(0);
    static STOPPED: AtomicU32 = AtomicU32::new(0);

    struct Pretended;

    impl Drop for Pretended {
        fn drop(&mut self) {
            STOPPED.fetch_add(1, Ordering::SeqCst);
        }
    }

    const PRETENDED: Service = Service {
        name: "pretended",
        about: "nothing",
        variable: "JOBCORE_TEST_PRETENDED",
        start: || {
            STARTED.fetch_add(1, Ordering::SeqCst);
            let variables = vec![("JOBCORE_TEST_PRETENDED", "here".to_owned())];
            let server = Box::new(Pretended);
            Ok(Started { variables, server })
        },
    };

    #[test]
    fn a_service_is_started_once_and_stopped_at_the_end() {
        start(&[]).unwrap();
        assert_eq!(variables(), []);
        start(&[&PRETENDED]).unwrap();
        start(&[&PRETENDED]).unwrap();
        assert_eq!(variables(), [("JOBCORE_TEST_PRETENDED", "here".to_owned())]);
        assert_eq!(
            (STARTED.load(Ordering::SeqCst), STOPPED.load(Ordering::SeqCst)),
            (1, 0)
        );
        stop();
        stop();
        assert_eq!(STOPPED.load(Ordering::SeqCst), 1);
        assert_eq!(variables(), []);
    }

    #[test]
    fn a_service_that_is_set_is_not_started() {
        // Any variable that is set wherever tests run.
        let given = Service {
            variable: "PATH",
            start: || Err("it was started".to_owned()),
            ..PRETENDED
        };
        start(&[Box::leak(Box::new(given))]).unwrap();
    }

    #[test]
    fn services_are_selected_by_name_and_an_unknown_name_is_refused() {
        assert_eq!(selected(&[]).unwrap().len(), ALL.len());
        let one = selected(&["mariadb".to_owned()]).unwrap();
        assert_eq!(one[0].variable, "JOBCORE_TEST_MYSQL_URL");
        assert!(selected(&["oracle".to_owned()]).unwrap_err().contains("mariadb"));
    }
}
