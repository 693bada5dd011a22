//! The service as its users see it: started, asked over HTTP, told to stop, started again.
#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic like the tests")]

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use jobcore_services::mariadb::{MariaDb, Options};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use ureq::Agent;

/// The service as a process, killed when dropped.
struct Service {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    address: String,
    http: Agent,
}

impl Service {
    /// Starts it on a free port.
    fn start(database: impl AsRef<OsStr>) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_embedded-in-axum"))
            .arg("--database")
            .arg(database)
            .args(["--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next().unwrap().unwrap();
        let address = first.strip_prefix("listening on ").unwrap().to_owned();
        let config = Agent::config_builder().http_status_as_error(false);
        let http = config.build().new_agent();
        Self {
            child,
            lines,
            address,
            http,
        }
    }

    fn get(&self, path: &str) -> (u16, Value) {
        let mut answer = self.http.get(format!("{}{path}", self.address)).call().unwrap();
        (answer.status().as_u16(), answer.body_mut().read_json().unwrap())
    }

    fn post(&self, order: &Value) -> Result<(u16, Value), ureq::Error> {
        let mut answer = self
            .http
            .post(format!("{}/orders", self.address))
            .send_json(order)?;
        Ok((answer.status().as_u16(), answer.body_mut().read_json()?))
    }

    fn order(&self, item: &str) -> String {
        let (status, order) = self.post(&json!({ "item": item })).unwrap();
        assert_eq!(status, 201, "{order}");
        id_of(&order)
    }

    /// What it answers about an order once that is confirmed.
    fn confirmed(&self, order_id: &str) -> Value {
        // Each look is a request; it takes a few until the task, which began when the order was answered, has ended.
        for _ in 0..100_000 {
            let (status, shown) = self.get(&format!("/orders/{order_id}"));
            assert_eq!(status, 200, "{shown}");
            if shown["task"]["state"] == "succeeded" {
                return shown;
            }
        }
        panic!("order {order_id} isn't confirmed");
    }

    fn tell_to_stop(&self) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
    }

    /// What it says until it has ended well.
    fn ended(mut self) -> Vec<String> {
        let said = self.lines.by_ref().map(Result::unwrap).collect();
        assert!(self.child.wait().unwrap().success());
        said
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Fails if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn id_of(order: &Value) -> String {
    order["order_id"].as_str().unwrap().to_owned()
}

#[test]
fn an_order_is_confirmed_by_its_task() {
    let directory = tempfile::tempdir().unwrap();
    serves_orders(&Service::start(directory.path().join("orders.db")));
}

/// The same service on a database server.
#[test]
fn an_order_is_confirmed_by_its_task_on_mysql() {
    if !MariaDb::is_installed() {
        return jobcore_services::skip("no MariaDB is installed; `cargo xtask services` installs one");
    }
    let server = MariaDb::start(Options::new(env!("CARGO_TARGET_TMPDIR"))).unwrap();
    serves_orders(&Service::start(server.url()));
}

fn serves_orders(service: &Service) {
    let order_id = service.order("tea");
    let shown = service.confirmed(&order_id);
    assert_eq!(shown["order"]["item"], "tea");
    assert!(shown["order"]["confirm_time"].is_string(), "{shown}");
    assert_eq!(shown["attempt"]["output"], "\"confirmed\"");
    let (_, orders) = service.get("/orders");
    assert_eq!(id_of(&orders[0]), order_id);
    let (_, jobs) = service.get("/jobs");
    let ids: Vec<_> = jobs["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| &job["job_id"])
        .collect();
    assert_eq!(ids, ["confirm", "report"]);
    assert!(jobs["items"][1]["next_fire_time"].is_string(), "{jobs}");
}

#[test]
fn what_cannot_be_served_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let service = Service::start(directory.path().join("orders.db"));
    assert_eq!(
        service.get("/orders/none"),
        (404, json!({ "error": "there is no order none" }))
    );
    let (status, error) = service.post(&json!({ "item": "" })).unwrap();
    assert_eq!(
        (status, error),
        (422, json!({ "error": "item: must have 1 to 255 bytes" }))
    );
    let (_, orders) = service.get("/orders");
    assert_eq!(orders, json!([]));
}

/// Orders come in while it is told to stop: each that was answered is there, and confirmed now or after the next start.
#[test]
fn a_drain_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("orders.db");
    let service = Service::start(&file);
    let stopping = AtomicBool::new(false);
    let mut accepted = vec![service.order("first")];
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut accepted = Vec::new();
                    loop {
                        match service.post(&json!({ "item": "tea" })) {
                            Ok((201, order)) => accepted.push(id_of(&order)),
                            // It has closed its door, or closes it at this moment.
                            other => {
                                assert!(stopping.load(Ordering::SeqCst), "{other:?}");
                                return accepted;
                            }
                        }
                    }
                })
            })
            .collect();
        (0..20).for_each(|_| accepted.push(service.order("before the end")));
        stopping.store(true, Ordering::SeqCst);
        service.tell_to_stop();
        for client in clients {
            accepted.extend(client.join().unwrap());
        }
    });
    assert_eq!(service.ended(), ["stopping", "drained"]);
    let again = Service::start(&file);
    for order_id in &accepted {
        let shown = again.confirmed(order_id);
        assert!(shown["order"]["confirm_time"].is_string(), "{shown}");
    }
    again.tell_to_stop();
    assert_eq!(again.ended(), ["stopping", "drained"]);
}
