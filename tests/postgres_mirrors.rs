//! A dump whose stored bytes rotted is restored from its copy, as if nothing had been wrong.

mod support;

#[path = "support/postgres.rs"]
mod postgres;
#[path = "support/postgres_shop.rs"]
mod postgres_shop;

use std::{fs, path::Path};

use postgres_shop::PgShop;

/// Flips a bit in the middle of a protected file.
fn rot(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

fn the_mirror_s_copy_is_restored(format: &str, extension: &str) {
    let shop = PgShop::open(15);
    let mirror = shop.path("mirror");
    let mirror = mirror.to_str().unwrap();
    let run = shop.backup(&["--mirror", mirror, "run", &shop.uri(), "--format", format]).exits(0);
    let id = run.stdout.trim().to_owned();
    let manifest = shop.manifest(&id);
    for companion in manifest["companions"].as_array().unwrap() {
        assert!(shop.path("mirror/shop/full").join(companion.as_str().unwrap()).is_file(), "{companion}");
    }
    rot(&shop.stored(&id, extension));

    let target = shop.server.uri("copy");
    shop.backup(&["restore", &id, "--to", &target]).exits(3);
    shop.has_only_databases(&["shop"]);
    shop.backup(&["--mirror", mirror, "restore", &id, "--to", &target]).exits(0).says("is of no use");
    shop.has_only_databases(&["copy", "shop"]);
    assert_eq!(shop.digests("copy"), shop.digests("shop"));

    shop.backup(&["--mirror", mirror, "verify", &id, "--heal"]).exits(0).says("healed from");
    shop.backup(&["verify", &id]).exits(0);
}

#[test]
fn a_rotten_archive_is_restored_from_the_mirror() {
    the_mirror_s_copy_is_restored("custom", "dump.zst");
}

#[test]
fn a_rotten_script_is_restored_from_the_mirror() {
    the_mirror_s_copy_is_restored("plain", "sql.zst");
}

#[test]
fn a_server_s_roles_that_rotted_are_healed() {
    let shop = PgShop::open(15);
    let mirror = shop.path("mirror");
    let mirror = mirror.to_str().unwrap();
    let id = shop.backup(&["--mirror", mirror, "run", &shop.uri()]).exits(0).stdout.trim().to_owned();
    let roles = shop.stored(&id, "globals.sql.zst");
    let whole = fs::read(&roles).unwrap();
    rot(&roles);
    shop.backup(&["verify", &id]).exits(3).says("globals.sql");
    shop.backup(&["--mirror", mirror, "verify", "--all", "--heal"]).exits(0).says("globals.sql");
    assert_eq!(fs::read(&roles).unwrap(), whole);
}
