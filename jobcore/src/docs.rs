//! Guides: how the parts work together, for people who use them.

#[doc = include_str!("docs/delivery.md")]
pub mod delivery {}

#[doc = include_str!("docs/failure.md")]
pub mod failure {}

#[doc = include_str!("docs/leases.md")]
pub mod leases {}

#[doc = include_str!("docs/lifecycle.md")]
pub mod lifecycle {}

#[doc = include_str!("docs/misfire.md")]
pub mod misfire {}

#[doc = include_str!("docs/schedules.md")]
pub mod schedules {}
