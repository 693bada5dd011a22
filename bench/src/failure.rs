//! Why a measurement can't be trusted: any error ends the program.

/// A result of a measurement.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Refuses to go on with figures that mean nothing.
pub(crate) fn ensure(holds: bool, otherwise: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(otherwise.into()) }
}
