//! The store's clock, for those who ask for it alone.

use jobcore::Timestamp;

use crate::connection::{Access, Cx, Operation};
use crate::error::Result;

/// Reads the clock.
#[derive(Debug)]
pub(crate) struct ReadClock;

#[async_trait::async_trait]
impl Operation for ReadClock {
    type Answer = Timestamp;
    const NAME: &'static str = "now";
    const ACCESS: Access = Access::Read;

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Timestamp> {
        cx.store_now().await
    }
}
