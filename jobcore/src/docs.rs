//! Guides: how the parts work together, for people who use them.

#[doc = include_str!("docs/schedules.md")]
pub mod schedules {}
