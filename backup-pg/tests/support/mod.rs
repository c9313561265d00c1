//! Real PostgreSQL servers, a schema with everything and a busy shop: what the tests of PostgreSQL share.
//!
//! [`Server::start`] starts one of the majors that `scripts/postgres` has installed, with data of its own.
#![allow(dead_code, unused_imports)] // Each test binary uses a part of it.

mod installation;
mod schema;
mod server;
mod writer;

pub(crate) use installation::MAJORS;
pub(crate) use schema::{
    create_configured_extension, create_keys, create_latin1, create_shape_of_everything, create_tables,
    create_values, schema_dump,
};
pub(crate) use server::{Server, Session, is_alive};
pub(crate) use writer::{Writer, consistent_orders};
