//! What lies in a folder.

use std::time::Duration;

use backup_core::{id::Key, store::ObjectMeta};
use futures_util::StreamExt;
use jiff::Timestamp;
use object_store::{ListResult, path::Path};

use super::bucket::Bucket;

/// Long listings come in pages, each in its own time.
const PAGES: u32 = 60;

/// How long a listing may take as a whole.
pub(super) fn limit(bucket: &Bucket) -> Duration {
    bucket.options.idle_timeout * PAGES
}

/// One level, all pages of it.
pub(super) async fn level(bucket: &Bucket, folder: &Path) -> object_store::Result<ListResult> {
    bucket.reading.objects.list_with_delimiter(prefix(folder)).await
}

/// All levels, all pages.
pub(super) async fn below(
    bucket: &Bucket,
    folder: &Path,
) -> object_store::Result<Vec<object_store::ObjectMeta>> {
    let mut objects = Vec::new();
    let mut stream = bucket.reading.objects.list(prefix(folder));
    while let Some(object) = stream.next().await {
        objects.push(object?);
    }
    Ok(objects)
}

fn prefix(folder: &Path) -> Option<&Path> {
    (!folder.as_ref().is_empty()).then_some(folder)
}

/// An object as listings show it; `None` for hidden and foreign ones.
pub(super) fn shown(bucket: &Bucket, object: &object_store::ObjectMeta) -> Option<ObjectMeta> {
    let key = Key::new(bucket.name_of(&object.location)?).ok()?;
    Some(ObjectMeta { key, bytes: object.size, modified: modified(object) })
}

/// When an object was written, by the store's clock.
pub(super) fn modified(object: &object_store::ObjectMeta) -> Timestamp {
    let time = object.last_modified;
    let nanoseconds = i32::try_from(time.timestamp_subsec_nanos()).unwrap_or(0);
    Timestamp::new(time.timestamp(), nanoseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}
