//! Copies in other stores: a disk that burns, a copy that rots, a mirror that is away cost no backup.

mod support;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use backup::{Manifest, crash};
use support::{Outcome, SIGKILL, Shop, are_the_same, customers, customers_by_stock_shell, names_in};

/// A shop whose backups have a mirror: a folder, or one that Dropbox carries.
struct Mirrored {
    shop: Shop,
    kind: &'static str,
}

impl Mirrored {
    fn open() -> Self {
        Self { shop: Shop::open(), kind: "" }
    }

    fn in_dropbox() -> Self {
        Self { shop: Shop::open(), kind: "dropbox:" }
    }

    fn folder(&self) -> PathBuf {
        self.shop.path("mirror")
    }

    fn name(&self) -> String {
        format!("{}{}", self.kind, self.folder().display())
    }

    /// The command with the mirror named.
    fn backup(&self, arguments: &[&str]) -> Outcome {
        self.shop.backup(&[&["--mirror", self.name().as_str()], arguments].concat())
    }

    fn killed_at(&self, point: &str, arguments: &[&str]) -> Outcome {
        self.shop.backup_killed_at(point, &[&["--mirror", self.name().as_str()], arguments].concat())
    }

    /// The command on the mirror as if it were the store.
    fn on_mirror(&self, arguments: &[&str]) -> Outcome {
        self.shop.backup_on(&self.name(), arguments)
    }

    fn back_up(&self) -> String {
        self.backup(&["run", "shop.db"]).exits(0).stdout.trim().to_owned()
    }

    fn listed_in_mirror(&self) -> Vec<String> {
        let list = self.on_mirror(&["list", "--json"]).exits(0).json();
        let ids = list["backups"].as_array().unwrap().iter();
        ids.map(|manifest| manifest["id"].as_str().unwrap().to_owned()).collect()
    }

    fn payload_in_mirror(&self, id: &str) -> PathBuf {
        self.folder().join("shop/full").join(self.shop.payload(id).file_name().unwrap())
    }

    fn lose_the_store(&self) {
        fs::remove_dir_all(self.shop.store()).unwrap();
    }
}

/// Backups and manifests of a store by their names below it: not proofs, second names and working files.
fn objects(store: &Path) -> BTreeMap<String, Vec<u8>> {
    let folder = store.join("shop/full");
    let is_object = |name: &String| name.starts_with("shop-");
    let names = names_in(&folder).into_iter().filter(is_object);
    names.map(|name| (name.clone(), fs::read(folder.join(name)).unwrap())).collect()
}

/// Puts other bytes in a protected file's place.
fn overwrite(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

fn flip_in_the_middle(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    overwrite(path, &bytes);
}

#[test]
fn a_backup_is_in_the_mirror_when_its_run_ends() {
    for mirrored in [Mirrored::open(), Mirrored::in_dropbox()] {
        let id = mirrored.back_up();
        assert_eq!(mirrored.listed_in_mirror(), [id]);
        assert_eq!(objects(&mirrored.folder()), objects(&mirrored.shop.store()));
        mirrored.on_mirror(&["verify", "--all"]).exits(0);
        assert_eq!(mirrored.folder().join("shop/full/latest.db.zst").exists(), mirrored.kind.is_empty());
    }
}

#[test]
fn a_mirror_that_fails_leaves_the_backup_good_and_is_told() {
    let mirrored = Mirrored::open();
    fs::create_dir(mirrored.folder()).unwrap();
    // Something stands where the vault's folder would be.
    fs::write(mirrored.folder().join("shop"), "in the way").unwrap();
    let run = mirrored.backup(&["run", "shop.db", "--json"]).exits(0).says("has no copy of it").json();
    assert_eq!((&run["good"], &run["mirrors"][0]["ok"]), (&true.into(), &false.into()), "{run}");
    mirrored.shop.backup(&["verify", "latest"]).exits(0);
    mirrored.backup(&["mirror"]).exits(1).says("was copied to");

    fs::remove_file(mirrored.folder().join("shop")).unwrap();
    mirrored.shop.back_up();
    let caught_up = mirrored.backup(&["mirror", "--json"]).exits(0).json();
    assert_eq!(caught_up["mirrors"][0]["copied"].as_array().unwrap().len(), 2, "{caught_up}");
    assert_eq!(objects(&mirrored.folder()), objects(&mirrored.shop.store()));
    let idle = mirrored.backup(&["mirror", "--json"]).exits(0).json();
    assert_eq!(
        (&idle["mirrors"][0]["already"], &idle["mirrors"][0]["bytes"]),
        (&2.into(), &0.into()),
        "{idle}"
    );
}

/// A mirror's disk that is not mounted, or whose name is wrong, must stop neither tonight's backup nor a restore.
#[test]
fn a_mirror_that_cannot_be_opened_stops_neither_backup_nor_restore() {
    let shop = Shop::open();
    fs::write(shop.path("file"), "in the way").unwrap();
    for mirror in ["file", "nowhere://x"] {
        let with = |arguments: &[&str]| shop.backup(&[&["--mirror", mirror], arguments].concat());
        with(&["run", "shop.db"]).exits(0).says("has no copy of it").says("could not be opened");
        with(&["mirror"]).exits(1).says("could not be opened");
        let copy = format!("{}.db", mirror.trim_end_matches("://x"));
        with(&["restore", "latest", "--to", &copy]).exits(0).says("could not be opened");
        are_the_same(&customers(&shop.path(&copy)), &customers(&shop.database()), mirror);
        shop.backup(&["mirror", "--to", mirror]).exits(2);
    }
}

#[test]
fn a_killed_copy_leaves_nothing_half_listed_and_goes_on() {
    for point in crash::MIRROR {
        let mirrored = Mirrored::in_dropbox();
        let id = mirrored.shop.back_up();
        let before = objects(&mirrored.shop.store());
        mirrored.killed_at(point, &["mirror"]).dies_of(SIGKILL);
        let is_there = ["mirror.committed", "mirror.proofs-copied"].contains(point);
        assert_eq!(mirrored.listed_in_mirror().len(), usize::from(is_there), "killed at {point}");
        mirrored.on_mirror(&["verify", "--all"]).exits(0);

        let again = mirrored.backup(&["mirror", "--json"]).exits(0).json();
        let sent = again["mirrors"][0]["bytes"].as_u64().unwrap();
        let is_sent_again = ["mirror.leased", "mirror.object-written"].contains(point);
        assert_eq!(sent > 0, is_sent_again, "killed at {point}: {again}");
        assert_eq!(mirrored.listed_in_mirror(), std::slice::from_ref(&id), "killed at {point}");
        assert_eq!(objects(&mirrored.folder()), before, "killed at {point}");
        assert_eq!(objects(&mirrored.shop.store()), before, "killed at {point}");
        let hidden = names_in(&mirrored.folder().join("shop/full"));
        assert!(hidden.iter().all(|name| !name.starts_with('.')), "killed at {point}: {hidden:?}");
    }
}

#[test]
fn a_burnt_disk_costs_no_backup() {
    for mirrored in [Mirrored::open(), Mirrored::in_dropbox()] {
        let older = mirrored.back_up();
        mirrored.shop.welcome(50);
        let newer = mirrored.back_up();
        let before = objects(&mirrored.shop.store());
        mirrored.lose_the_store();

        mirrored.shop.backup(&["restore", "latest", "--to", "none.db"]).exits(4);
        let restore = ["restore", "latest", "--to", "copy.db"];
        mirrored.backup(&restore).exits(0).says("cannot be read from store").says(&newer).says("mirror\"");
        are_the_same(
            &customers_by_stock_shell(&mirrored.shop.path("copy.db")),
            &customers(&mirrored.shop.database()),
            "restored",
        );
        assert!(!mirrored.shop.store().exists(), "a restore has no business there");
        let shown = mirrored.backup(&["show", &older, "--json"]).exits(0).json();
        assert_eq!(shown["copies"].as_array().unwrap().len(), 1, "{shown}");
        mirrored.backup(&["drill", "shop"]).exits(0);
        mirrored.backup(&["extract", "latest", "--table", "customers"]).exits(0).says("customer 600");
        fs::write(mirrored.shop.path("whole.db"), "").unwrap();

        let name = mirrored.name();
        mirrored.shop.backup(&["mirror", "--from", &name]).exits(0);
        assert_eq!(objects(&mirrored.shop.store()), before);
        mirrored.shop.backup(&["verify", "--all"]).exits(0).says(&older).says(&newer);
        assert_eq!(mirrored.shop.listed(), [older, newer]);
    }
}

#[test]
fn a_rotten_payload_is_restored_from_the_mirror() {
    let mirrored = Mirrored::open();
    let id = mirrored.back_up();
    let payload = mirrored.shop.payload(&id);
    let whole = fs::read(&payload).unwrap();
    let damages: [fn(&Path); 3] =
        [flip_in_the_middle, |path| fs::remove_file(path).unwrap(), |path| overwrite(path, b"short")];
    for (number, damage) in damages.into_iter().enumerate() {
        damage(&payload);
        let copy = format!("copy-{number}.db");
        mirrored.shop.backup(&["restore", &id, "--to", &copy]).exits(3);
        let restored =
            mirrored.backup(&["restore", &id, "--to", &copy, "--json"]).exits(0).says("is of no use");
        assert!(restored.json()["location"].as_str().unwrap().contains("mirror"), "{restored:?}");
        are_the_same(&customers(&mirrored.shop.path(&copy)), &customers(&mirrored.shop.database()), &copy);
        let table = format!("table-{number}.sql");
        mirrored.backup(&["extract", &id, "--table", "customers", "--output", &table]).exits(0);
        assert!(fs::read_to_string(mirrored.shop.path(&table)).unwrap().contains("customer 600"));
        if number > 0 {
            let cat = mirrored.shop.command(&["--mirror", &mirrored.name(), "cat", &id]).output().unwrap();
            assert!(cat.status.success() && cat.stdout.starts_with(b"SQLite format 3\0"), "{:?}", cat.stderr);
        }
        let _ = fs::remove_file(&payload);
        fs::write(&payload, &whole).unwrap();
    }
}

#[test]
fn a_backup_that_is_damaged_everywhere_fails_cleanly() {
    let mirrored = Mirrored::in_dropbox();
    let id = mirrored.back_up();
    mirrored.shop.welcome(50);
    let before = fs::read(mirrored.shop.database()).unwrap();
    flip_in_the_middle(&mirrored.shop.payload(&id));
    overwrite(&mirrored.payload_in_mirror(&id), b"short");
    let restore = ["restore", &id, "--replace", "--yes"];
    let failed =
        mirrored.backup(&restore).exits(3).says("no copy of").says(&mirrored.folder().display().to_string());
    assert!(failed.stderr.contains(&mirrored.shop.store().display().to_string()), "{failed:#?}");
    assert!(failed.stderr.contains("has 5 bytes"), "{failed:#?}");
    assert_eq!(fs::read(mirrored.shop.database()).unwrap(), before, "the target was touched");
    assert!(
        names_in(mirrored.shop.database().parent().unwrap()).iter().all(|name| !name.contains("restoring"))
    );
    let healed = mirrored.backup(&["verify", "--all", "--heal"]).exits(3).says("could not be healed");
    assert!(healed.stdout.contains("DAMAGED"), "{healed:#?}");
}

#[test]
fn verify_heals_what_is_damaged_from_the_mirror() {
    let mirrored = Mirrored::open();
    let ids: Vec<String> = (0..3).map(|_| mirrored.back_up()).collect();
    let before = objects(&mirrored.shop.store());
    flip_in_the_middle(&mirrored.shop.payload(&ids[0]));
    fs::remove_file(mirrored.shop.payload(&ids[1])).unwrap();
    overwrite(&mirrored.shop.manifest(&ids[2]), b"{ \"format\": 1 }");

    mirrored.shop.backup(&["verify", "--all"]).exits(3);
    mirrored.shop.backup(&["verify", "--all", "--heal"]).exits(2).says("no mirror was named");
    mirrored.backup(&["verify", "--all"]).exits(3).says("--heal");
    assert_ne!(objects(&mirrored.shop.store()), before, "only looking heals nothing");

    let healed = mirrored.backup(&["verify", "--all", "--heal", "--json"]).exits(0).json();
    assert_eq!(healed["healed"].as_array().unwrap().len(), 3, "{healed}");
    assert_eq!(objects(&mirrored.shop.store()), before);
    mirrored.shop.backup(&["verify", "--all"]).exits(0);
    let shown = mirrored.shop.backup(&["show", &ids[0], "--json"]).exits(0).json();
    let proofs = shown["proofs"].as_array().unwrap();
    assert!(proofs.iter().any(|proof| proof["healed"][0]["object"].is_string()), "{shown}");

    // The other way round: the mirror is healed from the store.
    flip_in_the_middle(&mirrored.payload_in_mirror(&ids[0]));
    let store = mirrored.shop.store().display().to_string();
    mirrored.on_mirror(&["--mirror", &store, "verify", "--all", "--heal"]).exits(0).says("healed from store");
    assert_eq!(objects(&mirrored.folder()), before);
}

#[test]
fn a_kill_while_healing_leaves_known_damage_that_heals() {
    for point in crash::HEAL {
        let is_manifest = ["heal.manifest-written", "heal.committed"].contains(point);
        let mirrored = Mirrored::open();
        let id = mirrored.back_up();
        let before = objects(&mirrored.shop.store());
        if is_manifest {
            overwrite(&mirrored.shop.manifest(&id), b"{}");
        } else {
            flip_in_the_middle(&mirrored.shop.payload(&id));
        }
        let heal = ["verify", "--all", "--heal"];
        mirrored.killed_at(point, &heal).dies_of(SIGKILL);
        let verified = mirrored.shop.backup(&["verify", "--all"]);
        let is_mended = ["heal.object-finished", "heal.objects-proven", "heal.committed"].contains(point);
        assert_eq!(verified.code, Some(if is_mended { 0 } else { 3 }), "killed at {point}: {verified:#?}");
        mirrored.backup(&heal).exits(0);
        assert_eq!(objects(&mirrored.shop.store()), before, "killed at {point}");
        mirrored.shop.back_up();
        mirrored.shop.has_no_litter();
        mirrored.shop.backup(&["verify", "--all"]).exits(0);
    }
}

/// What stands beside a payload, such as a server's roles, is copied, looked at and healed as the payload is.
#[test]
fn companions_are_copied_verified_and_healed() {
    let mirrored = Mirrored::open();
    let id = mirrored.shop.back_up();
    let (path, name) = (mirrored.shop.manifest(&id), format!("{id}.globals.sql"));
    let mut manifest = Manifest::from_json(&fs::read(&path).unwrap()).unwrap();
    let roles = b"CREATE ROLE app;\n";
    let mut facts = manifest.payload.clone();
    facts.name.clone_from(&name);
    facts.bytes = roles.len() as u64;
    facts.blake3 = blake3::hash(roles).to_hex().to_string();
    manifest.companions.push(name.clone());
    manifest.facts.insert("companions".to_owned(), serde_json::json!([facts]));
    overwrite(&path, &manifest.to_json().unwrap());
    let companion = path.with_file_name(&name);
    mirrored.shop.backup(&["verify", &id]).exits(3).says("the companion is missing");
    fs::write(&companion, roles).unwrap();
    mirrored.shop.backup(&["verify", &id]).exits(0);

    mirrored.backup(&["mirror"]).exits(0);
    assert_eq!(objects(&mirrored.folder()), objects(&mirrored.shop.store()));
    fs::write(&companion, "CREATE ROLE evil;").unwrap();
    mirrored.backup(&["verify", &id, "--heal"]).exits(0).says("globals.sql healed");
    assert_eq!(fs::read(&companion).unwrap(), roles);
    fs::remove_file(mirrored.folder().join("shop/full").join(&name)).unwrap();
    let mended = mirrored.backup(&["mirror", "--json"]).exits(0).json();
    assert_eq!(mended["mirrors"][0]["mended"].as_array().unwrap().len(), 1, "{mended}");
}

#[test]
fn a_mirror_s_hostile_manifest_is_refused() {
    let mirrored = Mirrored::open();
    let id = mirrored.back_up();
    let path = mirrored.folder().join(format!("shop/full/{id}.json"));
    let manifest = Manifest::from_json(&fs::read(&path).unwrap()).unwrap();
    let hostile = |change: &dyn Fn(&mut Manifest)| {
        let mut manifest = manifest.clone();
        change(&mut manifest);
        overwrite(&path, &manifest.to_json().unwrap());
    };
    mirrored.lose_the_store();
    let restore = ["restore", id.as_str(), "--to", "copy.db"];
    hostile(&|manifest| manifest.payload.name = "../../etc/x".to_owned());
    mirrored.backup(&restore).exits(3).says("../../etc/x").says("not its own");
    let name = mirrored.name();
    mirrored.shop.backup(&["mirror", "--from", &name]).exits(1).says("not its own");
    hostile(&|manifest| manifest.payload.bytes = 10_000_000_000);
    mirrored.backup(&restore).exits(3).says("expected 10000000000");
    mirrored.shop.backup(&["mirror", "--from", &name]).exits(1).says("expected 10000000000");
    assert!(!mirrored.shop.path("copy.db").exists() && mirrored.shop.listed().is_empty());
}

#[test]
fn conflict_copies_are_reported_and_never_taken_for_backups() {
    let mirrored = Mirrored::in_dropbox();
    let id = mirrored.back_up();
    let folder = mirrored.folder().join("shop/full");
    let copy = format!("{id} (Ann's conflicted copy 2026-01-22).json");
    fs::copy(folder.join(format!("{id}.json")), folder.join(&copy)).unwrap();
    fs::create_dir(mirrored.folder().join("Shop (Case Conflict)")).unwrap();
    assert_eq!(mirrored.listed_in_mirror(), [id]);
    mirrored.on_mirror(&["verify", "--all"]).exits(3).says(&copy).says("Shop (Case Conflict)");
    mirrored.on_mirror(&["status"]).exits(3).says(&copy);
    mirrored.backup(&["mirror"]).exits(0);
    fs::remove_file(folder.join(&copy)).unwrap();
    fs::remove_dir(mirrored.folder().join("Shop (Case Conflict)")).unwrap();
    mirrored.on_mirror(&["verify", "--all"]).exits(0);
    mirrored.on_mirror(&["status"]).exits(0);
}

/// The folders of an existing runbook: one database, `full/`, `schema/` and `data/` right in the Dropbox folder.
#[test]
fn a_dropbox_folder_can_keep_the_layout_of_a_runbook() {
    let mirrored = Mirrored::in_dropbox();
    let flat = format!("{}?flat=shop", mirrored.name());
    let id = mirrored.shop.back_up();
    mirrored.shop.backup(&["run", "shop.db", "--content", "schema"]).exits(0);
    mirrored.shop.backup(&["mirror", "--to", &flat]).exits(0);
    let shop = mirrored.folder();
    assert!(
        shop.join(format!("full/{id}.db.zst")).is_file() && shop.join("schema/shop-schema.sql").is_file()
    );
    mirrored.lose_the_store();
    mirrored.shop.backup(&["--mirror", &flat, "restore", "latest", "--to", "copy.db"]).exits(0);
    are_the_same(&customers(&mirrored.shop.path("copy.db")), &customers(&mirrored.shop.database()), "flat");
    mirrored
        .shop
        .backup_on(&flat, &["run", "shop.db", "--name", "blog"])
        .exits(2)
        .says("backups of \"shop\" only");
}

#[test]
fn mirrors_come_from_the_environment_and_the_store_itself_is_none() {
    let shop = Shop::open();
    let id = shop.back_up();
    let mirrors = format!("{}, dropbox:{}", shop.path("one").display(), shop.path("two").display());
    let copied = shop.command(&["mirror", "--json"]).env("BACKUP_MIRRORS", &mirrors).output().unwrap();
    assert!(copied.status.success(), "{copied:?}");
    for mirror in ["one", "two"] {
        assert!(shop.path(mirror).join(format!("shop/full/{id}.json")).is_file(), "{mirror}");
    }
    shop.backup(&["mirror"]).exits(2).says("no mirror was named");
    shop.backup(&["--mirror", "backups", "mirror"]).exits(2).says("itself");
    shop.backup(&["mirror", "--from", "backups"]).exits(2).says("itself");
    shop.backup(&["mirror", "--from", "nothing"]).exits(4).says("no backups");
}
