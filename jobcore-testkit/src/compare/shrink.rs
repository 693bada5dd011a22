//! Making a sequence of calls that shows a difference as short as can be found in some tries.

use std::future::Future;

use super::operation::Operation;
use super::snapshot::Asked;
use super::{Difference, Pair};
use crate::conformance::StoreUnderTest;

/// How many shorter sequences are tried at the most.
const TRIES: usize = 400;

/// A sequence that shows a difference, and which.
pub(super) struct Shortest {
    operations: Vec<Operation>,
    what: String,
}

impl Shortest {
    pub(super) fn into_difference(self, seed: u64, operations: usize) -> Difference {
        let shortest = self.operations.iter().map(|operation| format!("{operation:?}"));
        Difference {
            seed,
            operations,
            shortest: shortest.collect(),
            what: self.what,
        }
    }
}

/// Leaves out larger and then smaller pieces, as long as a difference still shows.
pub(super) async fn shrink<F, S>(
    operations: &[Operation],
    what: String,
    asked: &Asked,
    factory: &impl Fn() -> F,
) -> Shortest
where
    F: Future<Output = S>,
    S: Into<StoreUnderTest>,
{
    let operations = operations.to_vec();
    let mut shortest = Shortest { operations, what };
    let mut tries = TRIES;
    let mut piece = shortest.operations.len() / 2;
    while piece > 0 {
        let mut from = 0;
        while from < shortest.operations.len() && tries > 0 {
            tries -= 1;
            let until = (from + piece).min(shortest.operations.len());
            let mut fewer = shortest.operations.clone();
            fewer.drain(from..until);
            match replay(fewer, asked, factory().await.into()).await {
                Some(found) => shortest = found,
                None => from = until,
            }
        }
        piece /= 2;
    }
    shortest
}

/// Makes the calls on fresh stores: up to the first difference, if there is one.
async fn replay(operations: Vec<Operation>, asked: &Asked, tested: StoreUnderTest) -> Option<Shortest> {
    let mut pair = Pair::new(tested).await;
    for (place, operation) in operations.iter().enumerate() {
        if let Err(what) = pair.step(operation.clone(), asked).await {
            return Some(Shortest {
                operations: operations[..=place].to_vec(),
                what,
            });
        }
    }
    None
}
