//! Control connections.
