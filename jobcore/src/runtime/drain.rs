//! Draining: stop in order, by the host's wish or by an order from outside.

use std::sync::Arc;
use std::time::Duration;

use super::crew::Crew;
use super::node::Node;
use crate::engine::attempt::Ending;
use crate::store::SetExecutorStatus;
use crate::time::Timestamp;

/// How long an attempt that is handed back may take to end in order.
const END_GRACE: Duration = Duration::from_secs(5);

/// Begins nothing new, lets running attempts finish until `deadline`, hands back the rest, and signs off.
///
/// May run several times at once; the first to finish ends the node.
pub(crate) async fn drain(node: &Node, crew: &Arc<Crew>, deadline: Timestamp) {
    node.draining.cancel();
    crew.close();
    let in_order = async {
        tokio::select! {
            biased;
            () = crew.idle() => {}
            () = node.sleep_until(deadline) => hand_back(node, crew).await,
        }
        crew.journal.write_all().await;
        crew.settler.flushed().await;
        leave(node).await;
    };
    tokio::select! {
        biased;
        () = node.killed.cancelled() => {}
        () = in_order => node.kill(),
    }
}

/// Asks what still runs to end, and waits until it has, or is dropped.
async fn hand_back(node: &Node, crew: &Arc<Crew>) {
    for running in crew.starter.running() {
        let grace = running.job().definition.cancel_grace.min(END_GRACE);
        running.end(Ending::Drain, node.now() + grace);
    }
    crew.idle().await;
}

async fn leave(node: &Node) {
    let leave = SetExecutorStatus::Leave(node.holder());
    // Without it the lease runs out, which takes longer but loses nothing.
    if let Err(error) = node.store.set_executor_status(leave).await {
        tracing::warn!(%error, "couldn't sign off; the lease will run out");
    }
}
