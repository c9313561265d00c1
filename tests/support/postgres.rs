//! Real PostgreSQL servers for the tests of this folder: the kit of the engine's own tests.
#![allow(unused_imports)] // Each test binary uses a part of it.

#[path = "../../backup-pg/tests/support/mod.rs"]
mod kit;

pub(crate) use kit::*;
