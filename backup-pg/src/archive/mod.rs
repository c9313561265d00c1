//! pg_dump's custom format.
