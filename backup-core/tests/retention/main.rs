//! What retention keeps: properties of any policy, three years under each named one, and prunes of whole vaults.

mod floors;
mod kit;
mod properties;
mod prune;
mod tags;
mod walks;
