//! Whatever happens to stored bytes is found, named, and never restored.

mod support;

use std::{collections::BTreeSet, fs, path::Path};

use support::{Outcome, Shop, are_the_same, customers, names_in};

/// A shop with two backups, and a database that a bad restore must not touch.
struct Archive {
    shop: Shop,
    first: String,
    second: String,
}

impl Archive {
    fn with_compression(compression: &str) -> Self {
        let shop = Shop::open();
        let first = shop.back_up_with(&["--compression", compression]);
        shop.welcome(50);
        let second = shop.back_up_with(&["--compression", compression]);
        fs::create_dir(shop.path("live")).unwrap();
        fs::copy(shop.database(), shop.path("live/live.db")).unwrap();
        Self { shop, first, second }
    }

    /// Puts other bytes in a stored file's place, looks, and puts the true ones back.
    #[track_caller]
    fn with_bytes(&self, file: &Path, bytes: &[u8], look: impl FnOnce(&Self)) {
        let whole = fs::read(file).unwrap();
        assert_ne!(whole, bytes, "that is no damage");
        fs::write(file, bytes).unwrap();
        look(self);
        fs::write(file, whole).unwrap();
    }

    /// Checks that the second backup is known to be bad and the first one to be good.
    #[track_caller]
    fn knows_that_the_second_is_bad(&self, what: &str) {
        let verified = self.shop.backup(&["verify", &self.second]);
        self.condemns(&verified, what);
        let all = self.shop.backup(&["verify", "--all"]);
        self.condemns(&all, what);
        assert!(all.stdout.contains(&format!("{} structure ok", self.first)), "{what}: {all:#?}");
        self.does_not_restore(&self.second, what);
    }

    #[track_caller]
    fn condemns(&self, verified: &Outcome, what: &str) {
        assert_eq!(verified.code, Some(3), "{what}: {verified:#?}");
        let names_it = verified.stdout.contains(&self.second) || verified.stderr.contains(&self.second);
        assert!(names_it, "{what}: {verified:#?}");
    }

    /// Checks that a restore fails, onto a new name and onto a living database, and leaves no trace of itself.
    #[track_caller]
    fn does_not_restore(&self, id: &str, what: &str) {
        let (folder, live) = (self.shop.path("live"), self.shop.path("live/live.db"));
        let (names, bytes) = (names_in(&folder), fs::read(&live).unwrap());
        for target in [&["live/new.db"][..], &["live/live.db", "--replace", "--yes"]] {
            let restored = self.shop.backup(&[&["restore", id, "--to"], target].concat());
            assert!(restored.code.is_some_and(|code| code != 0 && code != 101), "{what}: {restored:#?}");
            assert_eq!(names_in(&folder), names, "{what}: {restored:#?}");
            assert!(fs::read(&live).unwrap() == bytes, "{what}: the target was touched: {restored:#?}");
        }
    }

    /// Checks that with its true bytes back the archive is whole, so that what was found was the damage.
    #[track_caller]
    fn is_whole(&self) {
        self.shop.backup(&["verify", "--all"]).exits(0);
        self.shop.backup(&["restore", &self.second, "--to", "whole.db"]).exits(0);
        are_the_same(
            &customers(&self.shop.path("whole.db")),
            &customers(&self.shop.database()),
            "without damage",
        );
    }
}

/// So many positions of a file, spread evenly, and everything at its very ends.
fn positions(length: usize, spread: usize, ends: usize) -> BTreeSet<usize> {
    let evenly = (0..spread).map(|n| n * (length - 1) / (spread - 1));
    evenly.chain(0..ends).chain(length - ends..length).collect()
}

fn every_flipped_payload_byte_is_found(compression: &str) {
    let archive = Archive::with_compression(compression);
    let payload = archive.shop.payload(&archive.second);
    let whole = fs::read(&payload).unwrap();
    // The last 29 bytes of a zstd payload are its seek table.
    for position in positions(whole.len(), 30, 30) {
        let mut bytes = whole.clone();
        bytes[position] ^= 1 << (position % 8);
        let what = format!("byte {position} of {} flipped, {compression}", whole.len());
        archive.with_bytes(&payload, &bytes, |archive| archive.knows_that_the_second_is_bad(&what));
    }
    archive.is_whole();
}

#[test]
fn every_flipped_byte_of_a_zstd_payload_is_found() {
    every_flipped_payload_byte_is_found("zstd");
}

#[test]
fn every_flipped_byte_of_a_gzip_payload_is_found() {
    every_flipped_payload_byte_is_found("gzip:6");
}

#[test]
fn every_flipped_byte_of_a_plain_payload_is_found() {
    every_flipped_payload_byte_is_found("none");
}

#[test]
fn payloads_cut_short_or_lengthened_are_found() {
    for compression in ["zstd", "gzip:6", "none"] {
        let archive = Archive::with_compression(compression);
        let payload = archive.shop.payload(&archive.second);
        let whole = fs::read(&payload).unwrap();
        for cut in [1, 4, 8, 9, 17, 29, 4096, whole.len() / 2, whole.len() - 1, whole.len()] {
            let what = format!("{cut} bytes cut off, {compression}");
            let rest = &whole[..whole.len() - cut];
            archive.with_bytes(&payload, rest, |archive| archive.knows_that_the_second_is_bad(&what));
        }
        let skippable_frame = [0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0];
        for appended in [&[0][..], b"\n", &skippable_frame, &[0; 4096], &whole] {
            let what = format!("{} bytes appended, {compression}", appended.len());
            let longer = [&whole, appended].concat();
            archive.with_bytes(&payload, &longer, |archive| archive.knows_that_the_second_is_bad(&what));
        }
        archive.is_whole();
    }
}

#[test]
fn every_flipped_byte_of_a_manifest_is_found() {
    let archive = Archive::with_compression("zstd");
    let manifest = archive.shop.manifest(&archive.second);
    let whole = fs::read(&manifest).unwrap();
    for position in positions(whole.len(), 40, 3) {
        let mut bytes = whole.clone();
        bytes[position] ^= 1;
        let what = format!("byte {position} of {} flipped", whole.len());
        archive.with_bytes(&manifest, &bytes, |archive| archive.knows_that_the_second_is_bad(&what));
    }
    archive.is_whole();
}

#[test]
fn manifests_cut_short_or_lengthened_are_found() {
    let archive = Archive::with_compression("zstd");
    let manifest = archive.shop.manifest(&archive.second);
    let whole = fs::read(&manifest).unwrap();
    for length in [0, 1, whole.len() / 2, whole.len() - 2] {
        let what = format!("cut to {length} bytes");
        archive
            .with_bytes(&manifest, &whole[..length], |archive| archive.knows_that_the_second_is_bad(&what));
    }
    let twice = [&whole[..], &whole].concat();
    archive.with_bytes(&manifest, &twice, |archive| archive.knows_that_the_second_is_bad("doubled"));
    archive.is_whole();
}

#[test]
fn an_edited_manifest_is_found() {
    let archive = Archive::with_compression("zstd");
    let (first, second) = (archive.first.as_str(), archive.second.as_str());
    let manifest = archive.shop.manifest(second);
    let whole = fs::read_to_string(&manifest).unwrap();
    let edits = [
        ("rows", "\"rows\": 650".to_owned(), "\"rows\": 651".to_owned()),
        ("payload", format!("\"name\": \"{second}.db.zst\""), format!("\"name\": \"{first}.db.zst\"")),
        (
            "payload elsewhere",
            format!("\"name\": \"{second}.db.zst\""),
            "\"name\": \"/etc/passwd\"".to_owned(),
        ),
        ("id", format!("\"id\": \"{second}\""), format!("\"id\": \"{first}\"")),
        ("suspicion", "\"suspect\": []".to_owned(), "\"suspect\": [ ], \"tested\": true".to_owned()),
    ];
    for (what, from, to) in edits {
        assert!(whole.contains(&from), "{from} is missing in {whole}");
        let edited = whole.replace(&from, &to);
        archive
            .with_bytes(&manifest, edited.as_bytes(), |archive| archive.knows_that_the_second_is_bad(what));
    }
    archive.is_whole();
}

#[test]
fn a_manifest_under_the_name_of_another_is_found() {
    let archive = Archive::with_compression("zstd");
    let of_the_first = fs::read(archive.shop.manifest(&archive.first)).unwrap();
    let manifest = archive.shop.manifest(&archive.second);
    archive.with_bytes(&manifest, &of_the_first, |archive| archive.knows_that_the_second_is_bad("renamed"));
    archive.is_whole();
}

#[test]
fn two_payloads_in_each_others_place_are_found() {
    let archive = Archive::with_compression("zstd");
    let shop = &archive.shop;
    let (first, second) = (shop.payload(&archive.first), shop.payload(&archive.second));
    let swap = || {
        fs::rename(&first, shop.path("aside")).unwrap();
        fs::rename(&second, &first).unwrap();
        fs::rename(shop.path("aside"), &second).unwrap();
    };
    swap();
    for id in [&archive.first, &archive.second] {
        shop.backup(&["verify", id]).exits(3).says(id);
        archive.does_not_restore(id, "swapped payloads");
    }
    shop.backup(&["verify", "--all"]).exits(3).says(&archive.first).says(&archive.second);
    swap();
    archive.is_whole();
}

/// People name a file where they find it, also by the link that points to the newest.
#[test]
fn a_damaged_payload_named_by_its_path_is_not_restored() {
    for compression in ["zstd", "gzip:6", "none"] {
        let archive = Archive::with_compression(compression);
        let payload = archive.shop.payload(&archive.second);
        let latest = payload.with_file_name(
            payload.file_name().unwrap().to_str().unwrap().replace(&archive.second, "latest"),
        );
        let mut bytes = fs::read(&payload).unwrap();
        let position = byte_of_a_note(&bytes, compression);
        bytes[position] ^= 1;
        archive.with_bytes(&payload, &bytes, |archive| {
            for path in [&payload, &latest] {
                let path = path.to_str().unwrap();
                archive.shop.backup(&["verify", path]).exits(3);
                archive.does_not_restore(path, &format!("{path} has a flipped byte"));
            }
        });
        archive.is_whole();
    }
}

/// Where nothing but a hash would notice: inside a row of a plain database, in the middle of compressed bytes.
fn byte_of_a_note(payload: &[u8], compression: &str) -> usize {
    match compression {
        "none" => payload.windows(11).rposition(|window| window == b"customer 10").unwrap() + 10,
        _ => payload.len() / 2,
    }
}

/// The newest that can be used may be older than the newest there is, and who asks for it should know.
#[test]
fn a_damaged_newest_backup_is_not_passed_over_in_silence() {
    let archive = Archive::with_compression("zstd");
    let manifest = archive.shop.manifest(&archive.second);
    let edited = fs::read_to_string(&manifest).unwrap().replace("\"rows\": 650", "\"rows\": 651");
    archive.with_bytes(&manifest, edited.as_bytes(), |archive| {
        for arguments in [&["show", "latest"][..], &["verify"], &["restore", "latest", "--to", "copy.db"]] {
            archive.shop.backup(arguments).says(&archive.second);
        }
    });
}

#[test]
fn a_payload_that_is_gone_is_found() {
    let archive = Archive::with_compression("zstd");
    let (payload, aside) = (archive.shop.payload(&archive.second), archive.shop.path("aside"));
    fs::rename(&payload, &aside).unwrap();
    archive.knows_that_the_second_is_bad("payload deleted");
    fs::rename(&aside, &payload).unwrap();
    archive.is_whole();
}

#[test]
fn without_its_manifest_a_backup_does_not_exist() {
    let archive = Archive::with_compression("zstd");
    fs::remove_file(archive.shop.manifest(&archive.second)).unwrap();
    for command in ["show", "verify", "cat"] {
        archive.shop.backup(&[command, &archive.second]).exits(4).says(&archive.second);
    }
    archive.does_not_restore(&archive.second, "manifest deleted");
    assert_eq!(archive.shop.listed(), [archive.first.as_str()]);
    archive.shop.backup(&["verify", "--all"]).exits(0).says(&archive.first);
}
