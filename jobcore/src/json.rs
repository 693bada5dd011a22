//! JSON that passes through: checked once, carried as text, decoded only where somebody reads it.

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::error::{Error, Result};

/// A JSON value kept as its text: arguments, results, checkpoints. Cloning is cheap, and `null` takes no memory.
///
/// Equality compares the text.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Json(Option<Arc<str>>);

impl Json {
    /// The value `null`.
    pub const NULL: Self = Self(None);

    /// Encodes a value.
    ///
    /// # Errors
    /// `InvalidInput` if the value has no JSON form, such as a map whose keys aren't text.
    pub fn encode(value: &impl Serialize) -> Result<Self> {
        match serde_json::to_string(value) {
            Ok(text) => Ok(Self::from_stored(text)),
            Err(error) => Err(Error::invalid(
                "json",
                format_args!("the value has no JSON form: {error}"),
            )),
        }
    }

    /// Checks and takes JSON text.
    ///
    /// # Errors
    /// `InvalidInput` with line and column if it isn't JSON.
    pub fn parse(text: &str) -> Result<Self> {
        match serde_json::from_str::<&RawValue>(text) {
            Ok(raw) => Ok(Self::from_stored(raw.get())),
            Err(error) => Err(Error::invalid("json", error)),
        }
    }

    /// Takes text that was JSON when it was stored.
    pub fn from_stored(text: impl Into<Arc<str>>) -> Self {
        let text = text.into();
        if &*text == "null" {
            Self::NULL
        } else {
            Self(Some(text))
        }
    }

    /// The value as JSON text.
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or("null")
    }

    /// Whether the value is `null`.
    pub fn is_null(&self) -> bool {
        self.0.is_none()
    }

    /// Decodes the value.
    ///
    /// # Errors
    /// The decoder's error, which names the field where it can.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.as_str())
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<serde_json::Value> for Json {
    fn from(value: serde_json::Value) -> Self {
        Self::from_stored(value.to_string())
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(self.as_str()).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(serde_json::Value::deserialize(deserializer)?.into())
    }
}
