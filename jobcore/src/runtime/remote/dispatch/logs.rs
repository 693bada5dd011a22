//! Logs of remote attempts, on their way to the store.

use std::sync::Arc;

use super::Dispatcher;

/// Appends log chunks; runs until the node ends.
pub(super) async fn run(dispatcher: Arc<Dispatcher>) {
    let node = &dispatcher.node;
    loop {
        match dispatcher.transport.logs().await {
            Ok(batch) => {
                // An error that no repetition mends was counted; these chunks are lost, the attempts aren't.
                let _ = node
                    .persist("log", || node.store.append_logs(batch.messages.clone()))
                    .await;
                if let Err(error) = dispatcher.transport.acknowledge(batch.id).await {
                    node.back_off("acknowledge", &error).await;
                }
            }
            Err(error) => node.back_off("logs", &error).await,
        }
    }
}
