//! A vault that somebody else could write to: whatever lies in it is refused by name, costs no more than it is worth,
//! and leads nowhere outside the store.

mod support;

use std::{
    ffi::OsStr,
    fs,
    io::Write,
    os::unix::{ffi::OsStrExt, fs::symlink, net::UnixListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, SystemTime},
};

use backup::{BackupId, Manifest};
use backup_core::pipeline::{
    Compression, encode_bytes,
    seek_table::{self, FrameEntry},
};
use serde_json::{Value, json};
use support::{Outcome, Shop, names_in};

/// Kibibytes of address space that a command gets: a fraction of what the bombs here hold.
const MEMORY: u64 = 2_000_000;

/// A shop with two backups, of which the second is somebody's work.
struct Vault {
    shop: Shop,
    first: String,
    forged: String,
}

impl Vault {
    fn new() -> Self {
        let shop = Shop::open();
        let (first, forged) = (shop.back_up(), shop.back_up());
        Self { shop, first, forged }
    }

    /// The command with little memory and little time.
    fn backup(&self, arguments: &[&str]) -> Outcome {
        let inner = self.shop.command(arguments);
        let mut limited = Command::new("sh");
        let script = format!("ulimit -v {MEMORY} && exec timeout --signal=KILL 60 \"$0\" \"$@\"");
        limited.arg("-c").arg(script).arg(inner.get_program()).args(inner.get_args()).stdin(Stdio::null());
        for (name, value) in inner.get_envs() {
            match value {
                Some(value) => limited.env(name, value),
                None => limited.env_remove(name),
            };
        }
        limited.current_dir(inner.get_current_dir().unwrap());
        Outcome::of(limited.output().unwrap(), arguments)
    }

    fn folder(&self) -> PathBuf {
        self.shop.store().join("shop/full")
    }

    /// Edits the second backup's manifest and seals it again, as anybody can.
    fn forge(&self, edit: impl FnOnce(&mut Manifest)) {
        let path = self.shop.manifest(&self.forged);
        let mut manifest = Manifest::from_json(&fs::read(&path).unwrap()).unwrap();
        edit(&mut manifest);
        replace(&path, &manifest.to_json().unwrap());
    }

    /// Puts other bytes in the second backup's payload, and a manifest that claims `plain_bytes` of them.
    fn forge_payload(&self, stored: &[u8], encoding: &str, plain_bytes: u64) {
        replace(&self.shop.payload(&self.forged), stored);
        let (_, payload) = encode_bytes(stored, &Compression::None.into(), "any").unwrap();
        self.forge(|manifest| {
            manifest.payload.bytes = payload.bytes;
            manifest.payload.blake3.clone_from(&payload.blake3);
            manifest.payload.encoding = vec![encoding.to_owned()];
            manifest.payload.plain_bytes = plain_bytes;
        });
    }

    /// Checks that the forged backup is refused by name wherever it is used, that the first one is as good as before,
    /// and that nothing was made.
    #[track_caller]
    fn refuses(&self, why: &str) {
        for arguments in [
            &["verify", &self.forged][..],
            &["verify", "--all"],
            &["restore", &self.forged, "--to", "new.db"],
            &["cat", &self.forged],
        ] {
            let told = self.backup(arguments);
            assert!(matches!(told.code, Some(1 | 3)), "{why}: {told:#?}");
            let names_it = told.stderr.contains(&self.forged) || told.stdout.contains(&self.forged);
            assert!(names_it && told.stderr.contains(why), "{why}: {told:#?}");
        }
        self.is_unharmed();
    }

    #[track_caller]
    fn is_unharmed(&self) {
        assert!(!self.shop.path("new.db").exists());
        self.shop.has_no_litter();
        self.backup(&["verify", &self.first]).exits(0);
    }

    /// Checks that all commands that look come to an end.
    #[track_caller]
    fn can_be_looked_at(&self) {
        for arguments in
            [&["list"][..], &["status"], &["show", "latest"], &["verify", "--all"], &["estimate", "shop.db"]]
        {
            let told = self.backup(arguments);
            assert!(matches!(told.code, Some(0..=4)), "{told:#?}");
        }
    }
}

fn replace(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

fn make_pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// What a stock program makes of its input.
fn through(program: &[&str], input: impl FnOnce(&mut dyn Write) + Send + 'static) -> Vec<u8> {
    let mut command = Command::new(program[0]);
    let mut child = command.args(&program[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut sink = child.stdin.take().unwrap();
    let writer = thread::spawn(move || input(&mut sink));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    output.stdout
}

fn zeros(mebibytes: usize) -> impl FnOnce(&mut dyn Write) + Send {
    move |sink| {
        let zeros = vec![0; 1 << 20];
        (0..mebibytes).for_each(|_| sink.write_all(&zeros).unwrap());
    }
}

#[test]
fn a_manifest_cannot_name_what_is_not_its_own() {
    let vault = Vault::new();
    let other = format!("{}.db.zst", vault.first);
    for name in ["../../etc/x", "/etc/passwd", &other, "../../other/full/x.db", "x\n.db", "..", ""] {
        let whole = fs::read(vault.shop.manifest(&vault.forged)).unwrap();
        vault.forge(|manifest| manifest.payload.name = name.to_owned());
        vault.refuses("which is not its own");
        replace(&vault.shop.manifest(&vault.forged), &whole);
        vault.forge(|manifest| manifest.companions.push(name.to_owned()));
        vault.refuses("which is not its own");
        replace(&vault.shop.manifest(&vault.forged), &whole);
    }
    vault.backup(&["verify", "--all"]).exits(0);
}

#[test]
fn a_manifest_must_be_that_of_its_name() {
    let vault = Vault::new();
    let path = vault.shop.manifest(&vault.forged);
    let whole = fs::read(&path).unwrap();
    let as_other = |id: &str, edit: &dyn Fn(&mut Manifest)| {
        let text = String::from_utf8(whole.clone()).unwrap().replace(&vault.forged, id);
        let mut document: Value = serde_json::from_str(&text).unwrap();
        document.as_object_mut().unwrap().remove("seal");
        let mut manifest: Manifest = serde_json::from_value(document).unwrap();
        edit(&mut manifest);
        replace(&path, &manifest.to_json().unwrap());
    };
    as_other(&vault.first, &|_| {});
    vault.refuses("which its name does not");
    as_other(&vault.forged.replace("shop-full", "till-full"), &|_| {});
    vault.refuses("which its name does not");
    as_other(&vault.forged.clone(), &|manifest| {
        manifest.started_at = "2001-01-01T00:00:00Z".parse().unwrap()
    });
    vault.refuses("which its id does not");
}

#[test]
fn a_size_that_is_claimed_is_not_believed() {
    let vault = Vault::new();
    let whole = fs::read(vault.shop.manifest(&vault.forged)).unwrap();
    for claimed in [10_000_000_000, u64::MAX] {
        vault.forge(|manifest| manifest.payload.bytes = claimed);
        vault.refuses(&format!("expected {claimed}"));
        replace(&vault.shop.manifest(&vault.forged), &whole);
    }
    for claimed in [10_000_000_000, 1 << 62, u64::MAX] {
        vault.forge(|manifest| manifest.payload.plain_bytes = claimed);
        for arguments in [&["verify", &vault.forged][..], &["restore", &vault.forged, "--to", "new.db"]] {
            let told = vault.backup(arguments);
            // Where there is room for that much, it is found to be less; elsewhere it is not begun.
            assert!(
                matches!(told.code, Some(1 | 3)) && told.stderr.contains(&claimed.to_string()),
                "{told:#?}"
            );
        }
        vault.is_unharmed();
        vault.can_be_looked_at();
    }
}

#[test]
fn a_frame_that_decodes_to_gigabytes_is_left_after_the_first_of_them() {
    let vault = Vault::new();
    let bomb = through(&["zstd", "-q", "-1", "-c"], zeros(4096));
    assert!(bomb.len() < 1 << 20);
    vault.forge_payload(&bomb, "zstd", 1000);
    vault.refuses("decodes to more bytes than its manifest says");
    let entry = FrameEntry { stored: u32::try_from(bomb.len()).unwrap(), plain: 8 << 20, checksum: 0 };
    vault.forge_payload(&[&bomb[..], &seek_table::write(&[entry])].concat(), "zstd", 8 << 20);
    vault.refuses("frame 1 of 1");
    vault.forge_payload(&[&bomb[..], &seek_table::write(&[entry])].concat(), "zstd", 1000);
    vault.refuses("decodes to more bytes than its manifest says");
}

#[test]
fn many_small_members_that_decode_to_gigabytes_are_left_after_the_first() {
    let vault = Vault::new();
    let bomb = through(&["gzip", "-9", "-c"], zeros(64)).repeat(64);
    vault.forge_payload(&bomb, "gzip", 1000);
    vault.refuses("decodes to more bytes than its manifest says");
}

#[test]
fn a_seek_table_that_lies_is_not_followed() {
    let vault = Vault::new();
    let frame = through(&["zstd", "-q", "-c"], zeros(1));
    let stored = u32::try_from(frame.len()).unwrap();
    let honest = FrameEntry { stored, plain: 1 << 20, checksum: 0 };
    let lies: [(&str, Vec<FrameEntry>); 5] = [
        ("stored sizes", vec![FrameEntry { stored: stored + 1, ..honest }]),
        ("a frame of 4 GB", vec![FrameEntry { plain: u32::MAX, ..honest }]),
        ("a stored frame of 4 GB", vec![FrameEntry { stored: u32::MAX, ..honest }]),
        ("sums that overflow", vec![FrameEntry { stored: u32::MAX, plain: u32::MAX, checksum: 0 }; 1000]),
        ("no frame at all", vec![]),
    ];
    for (what, entries) in lies {
        let bytes = [&frame[..], &seek_table::write(&entries)].concat();
        vault.forge_payload(&bytes, "zstd", 1 << 20);
        let told = vault.backup(&["verify", &vault.forged]).exits(3);
        assert!(told.stderr.contains("the seek table at its end contradicts its size"), "{what}: {told:#?}");
    }
    let mut endless = [&frame[..], &seek_table::write(&[honest])].concat();
    let count = endless.len() - 9;
    endless[count..count + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    vault.forge_payload(&endless, "zstd", 1 << 20);
    vault.refuses("the seek table at its end contradicts its size");
    let frames = vec![FrameEntry { stored: 0, plain: 64 << 20, checksum: 0 }; 1_000_000];
    let empty = [&frame[..], &seek_table::write(&[&[honest], &frames[..]].concat())].concat();
    vault.forge_payload(&empty, "zstd", 1 << 20);
    vault.refuses("decodes to more bytes than its manifest says");
}

#[test]
fn large_and_deep_manifests_cost_little() {
    let vault = Vault::new();
    let path = vault.shop.manifest(&vault.forged);
    replace(&path, &vec![b' '; 65 << 20]);
    vault.refuses("bytes where at most");
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = format!("{{\"format\":1,\"x\":{}0{}}}", open.repeat(1_000_000), close.repeat(1_000_000));
        replace(&path, deep.as_bytes());
        vault.refuses("it is not a JSON document");
    }
    // Each of these takes 32 bytes and more once it is read.
    let wide = format!("{{\"format\":1,\"x\":[{}0]}}", "0,".repeat(30_000_000));
    replace(&path, wide.as_bytes());
    vault.refuses("more entries than");
    let several: Vec<String> =
        (1..=20).map(|second| format!("shop-full-200001{second:02}T000000Z")).collect();
    for id in &several {
        fs::write(vault.shop.manifest(id), &wide).unwrap();
    }
    vault.can_be_looked_at();
}

#[test]
fn a_hundred_thousand_foreign_names_are_passed_over() {
    let vault = Vault::new();
    for number in 0..100_000 {
        fs::write(vault.folder().join(format!("junk-{number}.json")), "").unwrap();
    }
    for number in 0..2_000 {
        fs::write(vault.folder().join(format!("shop-full-20000101T000000Z-{}.json", number + 2)), "{")
            .unwrap();
    }
    let listed = vault.backup(&["list", "--json"]).exits(0);
    assert_eq!(listed.json()["backups"].as_array().unwrap().len(), 2);
    assert_eq!(listed.json()["damaged"].as_array().unwrap().len(), 2_000);
    let latest = vault.backup(&["show", "latest", "--json"]).exits(0);
    assert!(latest.stdout.contains(&vault.forged));
    let next = vault.backup(&["run", "shop.db"]).exits(0);
    assert!(next.stdout.starts_with("shop-full-"));
}

#[test]
fn names_that_are_no_text_are_passed_over() {
    let vault = Vault::new();
    for folder in
        [vault.folder(), vault.shop.store(), vault.shop.store().join("shop/proofs").join(&vault.first)]
    {
        for name in
            [&b"shop-full-\xff\xfe.json"[..], b"a\nb.json", b"\x1b[2J", b"shop-full-20000101T000000Z\n.json"]
        {
            fs::write(folder.join(OsStr::from_bytes(name)), "{}").unwrap();
        }
        fs::create_dir_all(folder.join(OsStr::from_bytes(b"x\ny\xff")).join("full")).unwrap();
        fs::write(folder.join(OsStr::from_bytes(b"x\ny\xff/full/a.json")), "{}").unwrap();
    }
    let listed = vault.backup(&["list"]).exits(0);
    assert_eq!(listed.stdout.lines().count(), 3, "{listed:#?}");
    vault.can_be_looked_at();
    vault.backup(&["run", "shop.db"]).exits(0);
}

#[test]
fn what_a_manifest_says_cannot_draw_on_the_terminal() {
    let vault = Vault::new();
    vault.forge(|manifest| {
        manifest.tags = vec!["\u{1b}[2Jgone\nshop-full-20990101T000000Z good".to_owned()];
        manifest.source.database = "\u{1b}]0;x\u{7}".to_owned();
        manifest.tables[0].name = "a\r\nb\u{1b}[31m".to_owned();
        manifest.payload.blake3 = "\u{1b}[1m".to_owned();
    });
    for arguments in [
        &["list"][..],
        &["show", &vault.forged],
        &["verify", &vault.forged],
        &["status"],
        &["verify", "--all"],
    ] {
        let told = vault.backup(arguments);
        let is_control = |c: char| c.is_control() && c != '\n';
        assert!(!told.stdout.contains(is_control) && !told.stderr.contains(is_control), "{told:#?}");
    }
    let listed = vault.backup(&["list"]).exits(0);
    assert_eq!(listed.stdout.lines().count(), 3, "{listed:#?}");
}

#[test]
fn links_lead_nowhere() {
    let vault = Vault::new();
    let (payload, manifest) = (vault.shop.payload(&vault.forged), vault.shop.manifest(&vault.forged));
    for file in [&payload, &manifest] {
        let aside = vault.shop.path("aside");
        fs::rename(file, &aside).unwrap();
        symlink(&aside, file).unwrap();
        for arguments in [&["verify", &vault.forged][..], &["restore", &vault.forged, "--to", "new.db"]] {
            vault.backup(arguments).exits(3).says(&vault.forged).says("is a symbolic link");
        }
        vault.is_unharmed();
        fs::remove_file(file).unwrap();
        fs::rename(&aside, file).unwrap();
    }
    vault.backup(&["verify", "--all"]).exits(0);
}

#[test]
fn folders_that_are_links_are_neither_read_nor_written() {
    let outside = tempfile::tempdir().unwrap();
    for linked in ["shop", "shop/full", "shop/proofs"] {
        let vault = Vault::new();
        let (folder, target) =
            (vault.shop.store().join(linked), outside.path().join(linked.replace('/', "-")));
        fs::rename(&folder, &target).unwrap();
        symlink(&target, &folder).unwrap();
        let before = tree(&target);
        let _ = vault.backup(&["list"]);
        if linked != "shop" {
            vault.backup(&["status"]).exits(3).says("is a symbolic link");
        }
        let run = vault.backup(&["run", "shop.db"]);
        match linked {
            // The backup exists without its proof, which is told.
            "shop/proofs" => assert!(run.stderr.contains("is a symbolic link"), "{run:#?}"),
            _ => {
                run.exits(3).says("is a symbolic link");
                vault.backup(&["show", &vault.first]).exits(3).says("is a symbolic link");
            }
        }
        assert_eq!(tree(&target), before, "{linked}: something outside the store was touched");
    }
}

/// Every name below a folder with its time and size.
fn tree(folder: &Path) -> Vec<(PathBuf, SystemTime, u64)> {
    let mut found = Vec::new();
    for name in names_in(folder) {
        let path = folder.join(name);
        let meta = fs::symlink_metadata(&path).unwrap();
        found.push((path.clone(), meta.modified().unwrap(), meta.len()));
        if meta.is_dir() {
            found.extend(tree(&path));
        }
    }
    found
}

#[test]
fn working_files_that_are_links_are_not_followed() {
    let vault = Vault::new();
    let outside = tempfile::tempdir().unwrap();
    let precious = outside.path().join("precious");
    fs::write(&precious, "mine").unwrap();
    let lock = vault.shop.store().join("shop/.lock");
    fs::remove_file(&lock).unwrap();
    symlink(&precious, &lock).unwrap();
    vault.backup(&["run", "shop.db"]).exits(3).says(".lock").says("no regular file");
    assert_eq!(fs::read_to_string(&precious).unwrap(), "mine");
    fs::remove_file(&lock).unwrap();

    fs::create_dir(outside.path().join("work-mine")).unwrap();
    let old = fs::File::open(outside.path().join("work-mine")).unwrap();
    old.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
    symlink(outside.path(), vault.shop.store().join(".scratch")).unwrap();
    vault.backup(&["verify", &vault.first]).exits(3).says(".scratch").says("symbolic link");
    assert_eq!(names_in(outside.path()), ["precious", "work-mine"]);
}

#[test]
fn pipes_sockets_and_folders_are_no_objects_and_nobody_waits_for_them() {
    let make_folder = |path: &Path| fs::create_dir_all(path.join("inner")).unwrap();
    let make_socket = |path: &Path| drop(UnixListener::bind(path).unwrap());
    for what in ["pipe", "socket", "folder"] {
        let make = |path: &Path| match what {
            "pipe" => make_pipe(path),
            "socket" => make_socket(path),
            _ => make_folder(path),
        };
        let vault = Vault::new();
        let proof = {
            let folder = vault.shop.store().join("shop/proofs").join(&vault.first);
            folder.join(&names_in(&folder)[0])
        };
        fs::remove_file(&proof).unwrap();
        make(&proof);
        make(&vault.folder().join(".partial-x"));
        make(&vault.folder().join("latest.txt"));
        vault.can_be_looked_at();
        let payload = vault.shop.payload(&vault.forged);
        fs::remove_file(&payload).unwrap();
        make(&payload);
        for arguments in [&["verify", &vault.forged][..], &["restore", &vault.forged, "--to", "new.db"]] {
            vault.backup(arguments).exits(3).says(&vault.forged).says("no regular file");
        }
        let manifest = vault.shop.manifest(&vault.forged);
        fs::remove_file(&manifest).unwrap();
        make(&manifest);
        vault.backup(&["verify", &vault.forged]).exits(3).says("no regular file");
        vault.can_be_looked_at();
        let lock = vault.shop.store().join("shop/.lock");
        fs::remove_file(&lock).unwrap();
        make(&lock);
        vault.backup(&["run", "shop.db"]).exits(3).says("no regular file");
        assert!(!vault.shop.path("new.db").exists(), "{what}");
    }
}

#[test]
fn parents_that_do_not_exist_or_are_their_own_keep_nobody_busy() {
    let vault = Vault::new();
    for parent in [&vault.forged, &vault.first, "shop-full-20010101T000000Z"] {
        let parent: BackupId = parent.parse().unwrap();
        vault.forge(|manifest| manifest.requires = Some(parent));
        vault.can_be_looked_at();
    }
}

#[test]
fn dates_at_the_ends_of_time_are_dates() {
    let vault = Vault::new();
    let make = |instant: &str, id: &str| {
        let mut manifest =
            Manifest::from_json(&fs::read(vault.shop.manifest(&vault.forged)).unwrap()).unwrap();
        let name = manifest.payload.name.replace(&vault.forged, id);
        fs::copy(vault.shop.payload(&vault.forged), vault.folder().join(&name)).unwrap();
        manifest.id = id.parse().unwrap();
        manifest.payload.name = name;
        let instant = instant.parse().unwrap();
        (manifest.started_at, manifest.snapshot_at, manifest.finished_at) = (instant, instant, instant);
        fs::write(vault.shop.manifest(id), manifest.to_json().unwrap()).unwrap();
    };
    make("1907-06-05T04:03:02Z", "shop-full-19070605T040302Z");
    make("-000044-03-15T12:00:00Z", "shop-full-00440315T120000Z");
    vault.can_be_looked_at();
    let listed = vault.backup(&["list", "--json"]).exits(0).json();
    assert_eq!(listed["backups"].as_array().unwrap().len(), 3);
    vault.backup(&["status"]).exits(3).says("shop-full-00440315T120000Z");
    fs::remove_file(vault.shop.manifest("shop-full-00440315T120000Z")).unwrap();
    vault.backup(&["status"]).exits(0);

    make("9999-12-30T21:59:59Z", "shop-full-99991230T215959Z");
    vault.can_be_looked_at();
    vault.backup(&["show", "latest"]).exits(0).says("shop-full-99991230T215959Z");
    vault.backup(&["restore", "latest", "--to", "copy.db"]).exits(0);
    // The age of such a backup is below every objective: without a word nobody would hear that there are no new ones.
    vault.backup(&["status", "--rpo", "24h"]).exits(3).says("is dated in the future");
    vault.backup(&["run", "shop.db"]).exits(0);
}

#[test]
fn numbers_at_the_ends_of_their_range_are_numbers() {
    let vault = Vault::new();
    vault.forge(|manifest| {
        manifest.rows = Some(u64::MAX);
        manifest.high_water_rows = Some(u64::MAX);
        manifest.tables.iter_mut().for_each(|table| table.rows = u64::MAX);
        manifest.facts.insert("page_count".to_owned(), json!(u64::MAX));
        manifest.facts.insert("page_size".to_owned(), json!(-1e308));
    });
    vault.can_be_looked_at();
    for arguments in [&["verify", &vault.forged][..], &["restore", &vault.forged, "--to", "new.db"]] {
        let told = vault.backup(arguments);
        assert!(matches!(told.code, Some(1 | 3)), "{told:#?}");
        assert!(told.stderr.contains("18446744073709551615"), "{told:#?}");
    }
    vault.is_unharmed();
    // Fewer rows than ever before, by what the vault says.
    vault.backup(&["run", "shop.db"]).exits(3);
    vault.backup(&["run", "shop.db", "--accept"]).exits(0);
}

#[test]
fn proofs_by_somebody_else_prove_nothing() {
    let vault = Vault::new();
    let folder = vault.shop.store().join("shop/proofs").join(&vault.first);
    let name = names_in(&folder).remove(0);
    let mut proof: Value = serde_json::from_slice(&fs::read(folder.join(&name)).unwrap()).unwrap();
    proof["level"] = json!("restore");
    proof["restore_seconds"] = json!(0.001);
    // Not what its name says, of another backup, too large, too deep, nothing at all.
    replace(&folder.join(&name), &serde_json::to_vec(&proof).unwrap());
    proof["id"] = json!(vault.forged);
    fs::write(folder.join("20990101T000000Z-restore.json"), serde_json::to_vec(&proof).unwrap()).unwrap();
    fs::write(folder.join("20990101T000001Z-restore.json"), vec![b' '; 65 << 20]).unwrap();
    fs::write(folder.join("20990101T000002Z-restore.json"), "[".repeat(1_000_000)).unwrap();
    fs::write(folder.join("20990101T000003Z-restore.json"), "").unwrap();
    let status = vault.backup(&["status", "--rto", "1h", "--json"]).exits(3).json();
    assert_eq!(status["sources"][0]["measured_rto_seconds"], Value::Null);
    assert_eq!(status["sources"][0]["last_proof"]["id"], json!(vault.forged), "the true one of the second");
    assert_eq!(status["sources"][0]["last_proof"]["level"], "structure");
    vault.backup(&["show", &vault.first]).exits(0);
}
