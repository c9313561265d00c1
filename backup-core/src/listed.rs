//! Objects as a listing shows them, and no more of it than is of use.

use crate::{
    cache::Remembered,
    error::Result,
    id::Key,
    store::{ObjectMeta, Store},
    verify::Finding,
};

/// One object of a listing.
#[derive(Clone, Debug)]
pub(crate) enum Listed {
    /// Its name alone.
    Named(Key),
    /// With its size and time, by which a cache knows it again.
    Seen(ObjectMeta),
}

impl Listed {
    /// The objects below a folder, and what a sync client made of some; sizes and times only for a cache, as a disk has
    /// to look up each.
    pub(crate) fn below(
        folder: &str,
        store: &dyn Store,
        remembered: Option<&Remembered>,
    ) -> Result<(Vec<Self>, Vec<Finding>)> {
        if remembered.is_some() {
            let seen = store.list_below(folder)?.into_iter().map(Self::Seen).collect();
            return Ok((seen, store.conflicts(folder)?));
        }
        let names = store.names_below(folder)?;
        Ok((names.keys.into_iter().map(Self::Named).collect(), names.conflicts))
    }

    pub(crate) fn key(&self) -> &Key {
        match self {
            Self::Named(key) => key,
            Self::Seen(seen) => &seen.key,
        }
    }

    /// As a cache knows it.
    pub(crate) fn seen(&self) -> Option<&ObjectMeta> {
        match self {
            Self::Named(_) => None,
            Self::Seen(seen) => Some(seen),
        }
    }
}
