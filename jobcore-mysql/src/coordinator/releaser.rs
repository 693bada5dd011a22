//! Gives up in the database what was dropped.

use std::sync::Arc;
use std::time::Duration;

use super::acquire::Release;
use super::pace::Pace;
use super::session::Session;

/// Gives up what is dropped until the session is over; what is left then ends with it.
pub(crate) async fn release(session: Arc<Session>) {
    let mut retries = Pace::new(Duration::from_millis(50), Duration::from_secs(1));
    loop {
        tokio::select! {
            biased;
            () = session.over() => return,
            () = session.leaving() => {}
        }
        let tickets = session.take_leaving();
        if tickets.is_empty() {
            continue;
        }
        let request = Release {
            session_id: session.id,
            tickets,
        };
        match session.work.carry_out(&request).await {
            Ok(()) => {
                retries.quicken();
                session.news.notify_one();
            }
            Err(error) => {
                tracing::debug!(session = session.id, %error, "not given up; trying again");
                session.put_back(request.tickets);
                tokio::time::sleep(retries.rest()).await;
            }
        }
    }
}
