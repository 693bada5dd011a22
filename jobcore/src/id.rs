//! Names of things: newtypes over short shared strings, so that one kind of id can't be passed for another.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clock::Entropy;
use crate::error::{Error, Result};
use crate::time::Timestamp;

/// The longest id, in bytes: what the id columns of every SQL store hold.
pub const MAX_ID_LENGTH: usize = 64;

/// Checks that `text` is 1 to 64 printable ASCII characters without spaces and without `forbidden`.
///
/// The narrow alphabet makes equality the same in every collation, URL and environment variable.
pub(crate) fn check_name(field: &str, text: &str, forbidden: &[char]) -> Result<()> {
    if text.is_empty() || text.len() > MAX_ID_LENGTH {
        let length = text.len();
        return Err(Error::invalid(
            field,
            format_args!("must have 1 to {MAX_ID_LENGTH} characters, has {length}"),
        ));
    }
    match text
        .chars()
        .find(|c| !c.is_ascii_graphic() || forbidden.contains(c))
    {
        Some(c) => Err(Error::invalid(
            field,
            format_args!(
                "`{text}` contains {c:?}; use printable ASCII without spaces{}",
                list(forbidden)
            ),
        )),
        None => Ok(()),
    }
}

fn list(forbidden: &[char]) -> String {
    if forbidden.is_empty() {
        String::new()
    } else {
        format!(" and without {}", String::from_iter(forbidden))
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $field:literal) => {
        $(#[$doc])*
        ///
        /// 1 to 64 printable ASCII characters without spaces; compared byte by byte. Cloning is cheap.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and takes an id.
            ///
            /// # Errors
            /// `InvalidInput` if it is empty, longer than 64 bytes or holds anything but printable ASCII.
            pub fn new(text: impl AsRef<str>) -> Result<Self> {
                let text = text.as_ref();
                check_name($field, text, &[])?;
                Ok(Self(text.into()))
            }

            /// Takes an id that a store read back, which was checked when it was written.
            pub fn from_stored(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// A new id that sorts by `now` (a version 7 UUID).
            pub fn generate(now: Timestamp, entropy: &dyn Entropy) -> Self {
                let mut text = [0u8; uuid::fmt::Hyphenated::LENGTH];
                Self(Arc::from(&*new_uuid(now, entropy).hyphenated().encode_lower(&mut text)))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The id as text that is shared with it, not copied.
            pub fn to_shared(&self) -> Arc<str> {
                Arc::clone(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self> {
                Self::new(text)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = Error;
            fn try_from(text: &str) -> Result<Self> {
                Self::new(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::new(text).map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(
    /// Names a [`Job`](crate::job::Job): chosen by its author, or generated.
    JobId,
    "job_id"
);
id!(
    /// Names a [`Task`](crate::task::Task): chosen by the caller, so that it can look for the task after an
    /// indeterminate insert, or generated.
    TaskId,
    "task_id"
);
id!(
    /// Names an executor node; unique among the processes that share a store.
    ExecutorId,
    "executor_id"
);
id!(
    /// Names one occurrence of a workflow.
    RunId,
    "run_id"
);

/// Names one call of [`claim`](crate::store::TaskStore::claim), so that after a lost answer the caller can ask again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClaimId(pub u128);

impl ClaimId {
    /// A new claim id.
    pub fn generate(now: Timestamp, entropy: &dyn Entropy) -> Self {
        Self(new_uuid(now, entropy).as_u128())
    }
}

/// A version 7 UUID whose first 12 bits behind the milliseconds are the fraction of the millisecond (RFC 9562, section
/// 6.2, method 3), so that ids sort by microseconds.
fn new_uuid(now: Timestamp, entropy: &dyn Entropy) -> uuid::Uuid {
    let mut random = [0u8; 10];
    random[2..].copy_from_slice(&entropy.next_u64().to_le_bytes());
    let micros = u64::try_from(now.as_micros()).unwrap_or(0);
    let (millis, fraction) = (micros / 1_000, micros % 1_000);
    let fraction = u16::try_from(fraction * 4_096 / 1_000).unwrap_or(0);
    random[..2].copy_from_slice(&fraction.to_be_bytes());
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SeededEntropy;

    #[test]
    fn generated_ids_sort_by_microseconds() {
        let entropy = SeededEntropy::new(1);
        let at =
            |micros: i64| TaskId::generate(Timestamp::from_micros(1_700_000_000_000_000 + micros), &entropy);
        let ids: Vec<_> = [0, 1, 2, 999, 1_000, 1_001].map(at).into();
        assert!(ids.is_sorted() && ids[0].as_str().len() == 36, "{ids:?}");
    }

    #[test]
    fn ids_are_short_printable_ascii() {
        for bad in ["", "a b", "ä", &"x".repeat(65)] {
            assert!(
                JobId::new(bad).unwrap_err().message().starts_with("job_id: "),
                "{bad:?}"
            );
        }
        assert!(JobId::new("x".repeat(64)).is_ok());
    }
}
