//! An engine that writes only what it must: its payload is one plain file, and comes back as one.

use std::{fmt, fs, io::Write, path::Path, process::Command, sync::Arc};

use backup_core::{
    Error, ErrorKind, Result,
    content::Content,
    context::Context,
    engine::{
        BackupEngine, CaptureRequest, Captured, EngineCapabilities, PayloadSink, SinkWriter, SourceReport,
    },
    id::SourceName,
    manifest::SourceFacts,
    operation::{DrillOptions, RestoreOptions, RunOptions, drill, restore, run},
    store::Store,
    testing::FlippingStore,
    vault::Vault,
    verify::Level,
};
use backup_storage::MemoryStore;
use tempfile::TempDir;

#[derive(Debug)]
struct Letter(String);

impl fmt::Display for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "letter")
    }
}

impl BackupEngine for Letter {
    fn capabilities(&self) -> EngineCapabilities {
        EngineCapabilities::new(&[Content::Full])
    }

    fn extension(&self, _request: &CaptureRequest) -> &'static str {
        ".txt"
    }

    fn inspect(&self, _cx: &Context) -> Result<SourceReport> {
        Ok(SourceReport::new(SourceFacts::new("", "letter", "letter.txt"), None))
    }

    fn capture(&self, _: &CaptureRequest, sink: &mut dyn PayloadSink, cx: &Context) -> Result<Captured> {
        SinkWriter(sink).write_all(self.0.as_bytes()).map_err(|e| Error::from_io("could not store it", e))?;
        Ok(Captured::at(cx.now()))
    }
}

/// A store with one backup of a letter, and a folder to restore it into.
struct Post {
    folder: TempDir,
    store: Arc<dyn Store>,
    vault: Vault,
    engine: Letter,
    cx: Context,
}

impl Post {
    fn with(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let vault = Vault::new(Arc::clone(&store), SourceName::new("post").unwrap());
        let cx = Context::default().with_scratch(folder.path().join("scratch"));
        let post = Self { folder, store, vault, engine: Letter(text.to_owned()), cx };
        assert!(run(&post.vault, &post.engine, &RunOptions::default(), &post.cx).unwrap().is_good());
        post
    }

    fn restore(&self, vault: &Vault, target: &Path, replace: bool) -> Result<Vec<String>> {
        let artifact = vault.newest_good(Content::Full)?.0.unwrap();
        let options = RestoreOptions::into(target.to_str().unwrap()).with_replace(replace);
        let swapped = restore(&artifact, &self.engine, &options, &self.cx)?.swapped;
        Ok(swapped.kept.into_iter().chain(swapped.undo).collect())
    }

    /// What lies in the folder beside the scratch, by name.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = entries.map(|name| name.into_string().unwrap()).collect();
        names.retain(|name| name != "scratch");
        names.sort();
        names
    }
}

#[test]
fn a_plain_file_comes_back_and_the_old_one_is_kept_with_a_line_that_undoes_it() {
    let post = Post::with("dear reader");
    let target = post.folder.path().join("letter.txt");
    post.restore(&post.vault, &target, false).unwrap();
    assert_eq!(fs::read_to_string(&target).unwrap(), "dear reader");

    fs::write(&target, "a later one").unwrap();
    let refused = post.restore(&post.vault, &target, false).unwrap_err();
    assert_eq!((refused.kind(), post.names().len()), (ErrorKind::AlreadyExists, 1));
    let [kept, undo] = post.restore(&post.vault, &target, true).unwrap().try_into().unwrap();
    assert_eq!(fs::read_to_string(&target).unwrap(), "dear reader");
    assert_eq!(fs::read_to_string(&kept).unwrap(), "a later one");
    assert_eq!(post.names().len(), 2, "nothing else is left: {:?}", post.names());

    assert!(Command::new("sh").args(["-c", &undo]).status().unwrap().success(), "{undo}");
    assert_eq!(fs::read_to_string(&target).unwrap(), "a later one");
}

#[test]
fn a_damaged_plain_file_is_found_by_a_drill_and_never_restored() {
    let post = Post::with(&"line\n".repeat(1000));
    let artifact = post.vault.newest_good(Content::Full).unwrap().0.unwrap();
    let good = drill(&post.vault, &artifact, &post.engine, &DrillOptions::default(), &post.cx).unwrap();
    assert!(good.is_ok() && good.proof.level == Level::Restore, "{good:?}");

    let flipping = FlippingStore::new(Arc::clone(&post.store), ".txt.zst", 20);
    let flipped = Vault::new(Arc::new(flipping), SourceName::new("post").unwrap());
    let artifact = flipped.newest_good(Content::Full).unwrap().0.unwrap();
    let bad = drill(&flipped, &artifact, &post.engine, &DrillOptions::default(), &post.cx).unwrap();
    assert!(!bad.is_ok());
    let target = post.folder.path().join("letter.txt");
    assert!(post.restore(&flipped, &target, false).unwrap_err().is_corruption());
    assert!(post.names().is_empty(), "{:?}", post.names());
}
