//! Keeps a session: renews it, and ends it here before it can end in the database.
//!
//! The database counts a lease from when the renewal came there, the holder from when it was sent, and less of it. So if
//! both clocks run equally fast, whoever takes over does it after the holder has stopped.

use std::sync::Arc;
use std::time::Duration;

use jobcore::clock::Clock as _;
use jobcore::{Result, Timestamp};

use super::lease::{EndSession, RenewSession, Renewed};
use super::pace::Pace;
use super::session::Session;

/// How often a session is renewed within its lease: several can fail before it is lost.
const RENEWALS: u32 = 5;

/// How much of a lease its holder believes in. The rest is for timers that come late, and for a clock of the server that
/// is set forward a little.
pub(crate) fn trusted(lease: Duration) -> Duration {
    lease * 4 / 5
}

/// Keeps the session that was opened by what was sent at `sent` until it is lost or closed.
pub(crate) async fn keep(session: Arc<Session>, sent: Timestamp) {
    let interval = session.lease / RENEWALS;
    let mut retries = Pace::new(interval / 10, interval);
    let mut next = sent + interval;
    loop {
        let renewal = tokio::select! {
            biased;
            () = session.over() => break,
            () = session.clock.sleep_until(session.deadline()) => {
                tracing::warn!(session = session.id, "not renewed in time; all that it held is lost");
                break;
            }
            renewal = renew(&session, next) => renewal,
        };
        match renewal.answer {
            Ok(Renewed::Kept(kept)) => {
                session.renewed(renewal.sent, &renewal.before, &kept);
                retries.quicken();
                next = renewal.sent + interval;
            }
            Ok(Renewed::Gone) => {
                tracing::warn!(
                    session = session.id,
                    "it has expired in the database; all that it held is lost"
                );
                break;
            }
            Err(error) => {
                tracing::debug!(session = session.id, %error, "not renewed; trying again");
                next = session.clock.now() + retries.rest();
            }
        }
    }
    session.end();
    end(&session).await;
}

struct Renewal {
    sent: Timestamp,
    /// What was held when it was sent.
    before: Vec<i64>,
    answer: Result<Renewed>,
}

/// Renews it at `time`. Dropped, it leaves what it sent to itself.
async fn renew(session: &Session, time: Timestamp) -> Renewal {
    session.clock.sleep_until(time).await;
    let request = RenewSession {
        session_id: session.id,
        lease: session.lease,
    };
    // One that hangs leaves time for others.
    let work = session.work.within(session.lease / RENEWALS);
    let before = session.tickets();
    let sent = session.clock.now();
    // A task of its own: a statement that is dropped half-way would spoil its connection.
    let answer = tokio::spawn(async move { work.beat(&request).await }).await;
    Renewal {
        sent,
        before,
        answer: answer.unwrap_or_else(|error| Err(keeper_failed(error))),
    }
}

fn keeper_failed(error: tokio::task::JoinError) -> jobcore::Error {
    jobcore::Error::new(jobcore::ErrorKind::Unavailable, "the renewal was cut off")
        .source(error)
        .backend(crate::BACKEND)
}

/// Ends it in the database, so that nobody waits until it expires there, which it does if this doesn't work.
async fn end(session: &Session) {
    let mut retries = Pace::new(session.lease / 50, session.lease / RENEWALS);
    let until = session.clock.now() + session.lease;
    loop {
        match session.work.carry_out(&EndSession(session.id)).await {
            Ok(()) => break,
            Err(error) if session.clock.now() >= until => {
                tracing::debug!(session = session.id, %error, "left to expire");
                break;
            }
            Err(_) => tokio::time::sleep(retries.rest()).await,
        }
    }
    session.news.notify_one();
}
