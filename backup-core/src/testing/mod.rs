//! Conformance suites that any implementation of a contract runs, and stores that misbehave on purpose.

mod engine;
mod far;
mod faults;
mod store;

pub use engine::{EngineFixture, engine_suite};
pub use far::FarStore;
pub use faults::{AwayStore, FlippingStore, FullStore};
pub use store::store_suite;
