//! Whatever happens to the stored bytes of a dump is found, named, and never brought near a server.

mod support;

#[path = "support/postgres.rs"]
mod postgres;
#[path = "support/postgres_shop.rs"]
mod postgres_shop;

use std::{
    fs,
    path::{Path, PathBuf},
};

use postgres::Server;
use postgres_shop::PgShop;

/// A backup whose stored bytes can be changed, on a server that logs what is made there.
struct Archive {
    shop: PgShop,
    id: String,
    payload: PathBuf,
    whole: Vec<u8>,
}

impl Archive {
    fn of(major: u32, extension: &str, options: &[&str]) -> Self {
        let shop = PgShop::with_tables_on(Server::with(major, &["log_statement=ddl"]));
        let id = shop.back_up_with(options);
        let payload = shop.stored(&id, extension);
        let whole = fs::read(&payload).unwrap();
        Self { shop, id, payload, whole }
    }

    /// Checks that with these stored bytes the backup is known to be bad, by id and by path, and is not restored.
    #[track_caller]
    fn is_refused_with(&self, bytes: &[u8], what: &str) {
        assert!(bytes != self.whole, "that is no damage");
        fs::remove_file(&self.payload).unwrap();
        fs::write(&self.payload, bytes).unwrap();
        let path = self.payload.to_str().unwrap();
        let log = self.shop.server.log().len();
        let new = ["--to", &self.shop.server.uri("copy")];
        for (named, target) in [(self.id.as_str(), &new[..]), (path, &["--replace", "--yes"])] {
            let told = self.shop.backup(&["verify", named]);
            assert_eq!(told.code, Some(3), "{what}: {told:#?}");
            assert!(format!("{told:?}").contains(&self.id), "{what}: {told:#?}");
            let told = self.shop.backup(&[&["restore", named], target].concat());
            assert_eq!(told.code, Some(3), "{what}: {told:#?}");
            assert!(told.stderr.starts_with("error: "), "{what}: {told:#?}");
        }
        let made = self.shop.server.log()[log..].to_owned();
        assert!(!made.contains("DATABASE"), "{what}: {made}");
        self.shop.has_only_databases(&["shop"]);
    }

    /// Checks that with its true bytes the backup is whole, so that what was found was the damage.
    #[track_caller]
    fn is_whole(&self) {
        fs::write(&self.payload, &self.whole).unwrap();
        self.shop.backup(&["verify", &self.id]).exits(0);
        self.shop.restore(&self.id, "copy");
        assert_eq!(self.shop.digests("copy"), self.shop.digests("shop"));
    }

    fn is_refused_cut_and_flipped(&self) {
        let length = self.whole.len();
        for left in [0, 10, length / 2, length - 1] {
            self.is_refused_with(&self.whole[..left], &format!("cut to {left} of {length} bytes"));
        }
        for position in [4, length / 3, length - 40] {
            let mut bytes = self.whole.clone();
            bytes[position] ^= 1 << (position % 8);
            self.is_refused_with(&bytes, &format!("byte {position} of {length} flipped"));
        }
        self.is_whole();
    }
}

#[test]
fn a_compressed_archive_cut_or_flipped_is_found() {
    Archive::of(15, "dump", &[]).is_refused_cut_and_flipped();
}

#[test]
fn an_archive_in_pg_dumps_own_compression_cut_or_flipped_is_found() {
    Archive::of(16, "dump", &["--compression", "pg:gzip:6"]).is_refused_cut_and_flipped();
}

#[test]
fn a_plain_dump_cut_or_flipped_is_found() {
    Archive::of(18, "sql", &["--format", "plain", "--compression", "none"]).is_refused_cut_and_flipped();
}

#[test]
fn a_directory_dump_cut_or_flipped_is_found() {
    Archive::of(15, "tar", &["--format", "directory"]).is_refused_cut_and_flipped();
}

/// pg_restore itself loads such an archive without a word: nothing in it tells that a row is another.
#[test]
fn a_flipped_byte_in_a_row_of_an_uncompressed_archive_is_found() {
    let archive = Archive::of(15, "dump", &["--compression", "none"]);
    let row = archive.whole.windows(12).position(|window| window == b"customer 100").unwrap();
    let mut bytes = archive.whole.clone();
    bytes[row] ^= 1;
    archive.is_refused_with(&bytes, "a row is another");
    let shop = &archive.shop;
    shop.server.create_database("misled", "");
    let file = archive.payload.to_str().unwrap();
    shop.server.run("pg_restore", "misled", &["--exit-on-error", "-d", "misled", file]);
    assert_ne!(shop.digests("misled"), shop.digests("shop"));
    shop.server.psql("postgres", "DROP DATABASE misled");
    archive.is_whole();
}

/// What is left of an archive when its manifest is gone: nobody knows its hash, only the archive itself speaks.
#[test]
fn an_archive_without_a_manifest_that_is_cut_is_not_restored() {
    let archive = Archive::of(16, "dump", &["--compression", "none"]);
    let stray = archive.shop.path("stray.dump");
    let length = archive.whole.len();
    for left in [10, length / 2, length - 1] {
        fs::write(&stray, &archive.whole[..left]).unwrap();
        let to = archive.shop.server.uri("copy");
        let told = archive.shop.backup(&["restore", name_of(&stray), "--to", &to]);
        assert!(told.code.is_some_and(|code| code != 0 && code != 101), "{told:#?}");
        archive.shop.has_only_databases(&["shop"]);
    }
    fs::write(&stray, &archive.whole).unwrap();
    archive.shop.restore(name_of(&stray), "copy");
    assert_eq!(archive.shop.digests("copy"), archive.shop.digests("shop"));
}

fn name_of(path: &Path) -> &str {
    path.to_str().unwrap()
}
