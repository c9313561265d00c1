//! What a store can do for us, found out by doing it.

use std::sync::{Arc, atomic::Ordering};

use backup_core::{Error, ErrorKind, Result, store::Capabilities};
use object_store::{PutMode, PutMultipartOptions, PutOptions, PutPayload, path::Path};

use super::{
    bucket::Bucket,
    claim,
    errors::{Action, Failed},
    list, runtime,
};

/// The folder of probes.
const PROBES: &str = ".probes";

/// What was found out about a store.
#[derive(Debug)]
#[non_exhaustive]
pub struct Probe {
    /// What the store can promise.
    pub capabilities: Capabilities,
    /// An upload in parts is refused at its end when something has appeared under its key meanwhile. Where it is
    /// not, a claim object keeps two writers apart.
    pub conditional_uploads: bool,
    /// What the credentials may not do, as errors that name the missing right; empty when all is well. That the
    /// right to delete is missing suits a host that is not trusted: then another host prunes.
    pub denied: Vec<Error>,
}

impl Bucket {
    /// Writes, lists, reads and deletes one small hidden object.
    ///
    /// # Errors
    /// When the store cannot be used at all: it is not there, or refuses to be written to. Then nothing is left
    /// behind; where deleting is denied, the probe is.
    pub(super) fn probe(self: &Arc<Self>) -> Result<Probe> {
        let bucket = Arc::clone(self);
        runtime::block_on(async move { bucket.probed().await })?
    }

    async fn probed(&self) -> Result<Probe> {
        let path = self.path(&format!("{PROBES}/{:032x}", fastrand::u128(..)));
        let create_only = self.creates_once(&path).await?;
        self.unconditional.store(!create_only, Ordering::Relaxed);
        self.probed.store(true, Ordering::Relaxed);
        let conditional_uploads = create_only && self.completes_once(&path).await;
        let mut denied = Vec::new();
        let folder = self.path(PROBES);
        let listed = self.call(list::limit(self), || list::below(self, &folder)).await;
        self.note(&mut denied, Action::List, listed.err())?;
        let read = claim::head(self, &path).await;
        self.note(&mut denied, Action::Read, read.err())?;
        let deleted = self.call(self.options.idle_timeout, || claim::delete(self, &path)).await;
        self.note(&mut denied, Action::Delete, deleted.err())?;
        let mut capabilities = Capabilities::full();
        capabilities.create_only = create_only;
        Ok(Probe { capabilities, conditional_uploads, denied })
    }

    async fn creates_once(&self, path: &Path) -> Result<bool> {
        let conditional = self.create(path).await;
        match conditional {
            Err(failed) if failed.seen.status == Some(501) => {
                let plain = self.put(path, PutMode::Overwrite).await;
                plain.map(|()| false).map_err(|failed| self.error(Action::Write, &self.to_string(), &failed))
            }
            Err(failed) => Err(self.error(Action::Write, &self.to_string(), &failed)),
            Ok(()) => Ok(self.create(path).await.is_err_and(|failed| failed.is_already_there())),
        }
    }

    async fn create(&self, path: &Path) -> Result<(), Failed> {
        self.put(path, PutMode::Create).await
    }

    async fn put(&self, path: &Path, mode: PutMode) -> Result<(), Failed> {
        let options = PutOptions { mode, ..PutOptions::default() };
        let attempt = || {
            let payload = PutPayload::from_static(b"probe\n");
            self.writing.objects.put_opts(path, payload, options.clone())
        };
        self.call(self.options.idle_timeout, attempt).await.map(drop)
    }

    /// Whether an upload to a key that is taken is refused at its end.
    async fn completes_once(&self, path: &Path) -> bool {
        let limit = self.options.idle_timeout;
        let begin = || self.writing.uploads.create_multipart_opts(path, PutMultipartOptions::default());
        let Ok(begun) = self.call(limit, begin).await else { return false };
        let id = begun.value;
        let send = || self.writing.uploads.put_part(path, &id, 0, PutPayload::from_static(b"part\n"));
        let refused = match self.call(limit, send).await {
            Ok(part) => {
                let complete =
                    || self.writing.uploads.complete_multipart(path, &id, vec![part.value.clone()]);
                let completed = self.call_within(limit, None, true, complete).await;
                completed.is_err_and(|failed| failed.seen.status == Some(412))
            }
            Err(_) => false,
        };
        let abort = || self.writing.uploads.abort_multipart(path, &id);
        let _ = self.call(limit, abort).await;
        refused
    }

    /// A right that is missing is a finding; anything else means that we could not look.
    fn note(&self, denied: &mut Vec<Error>, action: Action, failed: Option<Failed>) -> Result<()> {
        let Some(failed) = failed else { return Ok(()) };
        let error = self.error(action, &format!("objects in {self}"), &failed);
        match error.kind() {
            ErrorKind::Denied => denied.push(error),
            _ => return Err(error),
        }
        Ok(())
    }
}
