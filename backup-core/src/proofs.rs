//! The proofs of a vault: found by one listing, read only as far as a question needs.
//!
//! A proof's name tells when its verification began and how deep it looked, so that the newest of a kind is found
//! without reading the others.

use std::collections::BTreeSet;

use crate::{
    cache::Remembered,
    error::Result,
    id::{BackupId, compact_instant, is_compact_instant},
    listed::Listed,
    parallel,
    proof::Proof,
    vault::Vault,
    verify::Level,
};

/// Proofs larger than this are not ours.
const MAX_PROOF_BYTES: u64 = 4 << 20;

/// `<instant>-<level>.json`, and `-2`, `-3` … when two fall into one second.
pub(crate) fn proof_name(proof: &Proof, collision: u32) -> String {
    let stem = format!("{}-{}", compact_instant(proof.started_at), proof.level);
    if collision > 1 { format!("{stem}-{collision}.json") } else { format!("{stem}.json") }
}

/// A proof as its name tells of it.
#[derive(Clone, Debug)]
struct Named {
    object: Listed,
    id: BackupId,
    instant: String,
    /// Where the name tells it.
    level: Option<Level>,
}

impl Named {
    fn new(object: Listed) -> Option<Self> {
        let id = object.key().folder().rsplit('/').next()?.parse().ok()?;
        let mut parts = object.key().name().strip_suffix(".json")?.split('-');
        let instant = parts.next().filter(|instant| is_compact_instant(instant))?.to_owned();
        let level = parts.next().and_then(|level| level.parse().ok());
        Some(Self { object, id, instant, level })
    }

    fn may_be(&self, least: Level) -> bool {
        self.level.is_none_or(|level| level >= least)
    }
}

impl Vault {
    /// The proofs of one artifact, oldest first. A damaged proof proves nothing and is left out.
    ///
    /// # Errors
    /// What reading the store reports.
    pub fn proofs(&self, id: &BackupId) -> Result<Vec<Proof>> {
        self.proofs_below(&format!("{}/{id}", self.proofs_folder()))
    }

    /// The proofs of all artifacts, oldest first, as the store has them now; damaged ones are left out.
    ///
    /// # Errors
    /// What reading the store reports.
    pub fn all_proofs(&self) -> Result<Vec<Proof>> {
        self.proofs_below(&self.proofs_folder())
    }

    fn proofs_below(&self, folder: &str) -> Result<Vec<Proof>> {
        let names = self.store().names_below(folder)?.keys.into_iter();
        let named: Vec<Named> = names.filter_map(|key| Named::new(Listed::Named(key))).collect();
        let mut proofs: Vec<Proof> = read(self, &named, None)?.into_iter().flatten().collect();
        proofs.sort_by_key(|proof| proof.started_at);
        Ok(proofs)
    }
}

/// The proofs of some artifacts of a vault, none of them read yet.
pub(crate) struct Proofs<'a> {
    vault: &'a Vault,
    remembered: Option<&'a Remembered>,
    /// Newest first.
    named: Vec<Named>,
}

impl<'a> Proofs<'a> {
    /// The proofs of these artifacts among the vault's objects.
    pub(crate) fn of(
        vault: &'a Vault,
        listed: Vec<Listed>,
        ids: &BTreeSet<&BackupId>,
        remembered: Option<&'a Remembered>,
    ) -> Self {
        let folder = vault.proofs_folder();
        let is_proof = |listed: &Listed| {
            listed.key().as_str().strip_prefix(&folder).is_some_and(|rest| rest.starts_with('/'))
        };
        let proofs = listed.into_iter().filter(is_proof).filter_map(Named::new);
        let mut named: Vec<Named> = proofs.filter(|named| ids.contains(&named.id)).collect();
        named.sort_by(|a, b| b.instant.cmp(&a.instant));
        Self { vault, remembered, named }
    }

    /// The newest proof at least so deep that is as asked. Damaged ones prove nothing and are passed over.
    pub(crate) fn newest(&self, least: Level, is_wanted: impl Fn(&Proof) -> bool) -> Result<Option<Proof>> {
        let candidates: Vec<&Named> = self.named.iter().filter(|named| named.may_be(least)).collect();
        // Proofs of one second stand in no order until they are read.
        let mut seconds = candidates.chunk_by(|a, b| a.instant == b.instant).peekable();
        let mut batch = 1;
        while seconds.peek().is_some() {
            let wanted: Vec<&Named> = seconds.by_ref().take(batch).flatten().copied().collect();
            let found = read(self.vault, &wanted, self.remembered)?.into_iter().flatten();
            let newest = found.filter(|proof| is_wanted(proof)).max_by_key(|proof| proof.started_at);
            if newest.is_some() {
                return Ok(newest);
            }
            batch = (batch * 4).min(256);
        }
        Ok(None)
    }
}

fn read<N: AsRef<Named> + Sync>(
    vault: &Vault,
    named: &[N],
    remembered: Option<&Remembered>,
) -> Result<Vec<Option<Proof>>> {
    let threads = vault.store().parallel_reads();
    parallel::map(threads, named, |named| read_one(vault, named.as_ref(), remembered)).into_iter().collect()
}

fn read_one(vault: &Vault, named: &Named, remembered: Option<&Remembered>) -> Result<Option<Proof>> {
    let cached = remembered.zip(named.object.seen());
    if let Some(bytes) = cached.and_then(|(remembered, seen)| remembered.get(seen)) {
        return Ok(parse(&bytes, named));
    }
    match vault.store().get(named.object.key(), MAX_PROOF_BYTES) {
        Ok(bytes) => {
            cached.iter().for_each(|(remembered, seen)| remembered.put(seen, &bytes));
            Ok(parse(&bytes, named))
        }
        // Pruned since it was listed, or nothing that a proof could be read from.
        Err(error) if error.is_not_found() || error.is_corruption() => Ok(None),
        Err(error) => Err(error),
    }
}

/// A proof that says of itself what its name says of it.
fn parse(bytes: &[u8], named: &Named) -> Option<Proof> {
    let proof: Proof = serde_json::from_slice(bytes).ok()?;
    let is_named_so = proof.id == named.id
        && compact_instant(proof.started_at) == named.instant
        && named.level.is_none_or(|level| level == proof.level);
    is_named_so.then_some(proof)
}

impl AsRef<Named> for Named {
    fn as_ref(&self) -> &Named {
        self
    }
}
