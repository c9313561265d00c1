//! Jobs that are limited to some tables: their own backups are all that is asked of them.

mod support;

#[path = "support/postgres.rs"]
mod postgres;
#[path = "support/postgres_shop.rs"]
mod postgres_shop;

use std::fs;

use postgres_shop::PgShop;
use support::Outcome;

/// A shop whose job leaves the orders out, and copies to a mirror.
struct Limited(PgShop);

impl Limited {
    fn open() -> Self {
        let limited = Self(PgShop::open(15));
        // It needs the orders.
        limited.0.execute("DROP VIEW sums");
        limited.configure("exclude_tables = [\"public.orders\"]");
        limited
    }

    fn configure(&self, line: &str) {
        let text = format!(
            "[stores.local]\nurl = \"backups\"\n[stores.far]\nurl = \"far\"\n\
             [jobs.shop]\nsource = \"{}\"\nstore = \"local\"\nmirrors = [\"far\"]\n\
             retention = {{ last = 1 }}\nobjectives = {{ rpo = \"24h\" }}\n{line}\n",
            self.0.uri()
        );
        fs::write(self.0.path("backup.toml"), text).unwrap();
    }

    fn backup(&self, arguments: &[&str]) -> Outcome {
        Outcome::of(self.0.bare_command().args(arguments).output().unwrap(), arguments)
    }

    fn run(&self, options: &[&str]) -> String {
        let run = self.backup(&[&["run", "shop"], options].concat()).exits(0);
        run.stdout.trim().to_owned()
    }

    /// What `latest` names, and what the name in a store stands at.
    fn is_the_latest(&self, id: &str) {
        let shown = self.backup(&["show", "shop/latest", "--json"]).exits(0).json();
        assert_eq!(shown["manifest"]["id"], id);
        for store in ["backups", "far"] {
            let link = fs::read_link(self.0.path(store).join("shop/full/latest.dump.zst")).unwrap();
            assert!(link.to_str().unwrap().starts_with(id), "{store}: {}", link.display());
        }
    }
}

#[test]
fn a_job_of_some_tables_is_well_when_its_own_backups_are() {
    let limited = Limited::open();
    limited.backup(&["status"]).exits(3).says("there is no good full backup");
    let first = limited.run(&[]);
    limited.backup(&["status"]).exits(0).says("well");
    limited.is_the_latest(&first);

    let other = limited.run(&["--table", "public.orders"]);
    assert_ne!(first, other);
    limited.is_the_latest(&first);

    let second = limited.run(&[]);
    limited.is_the_latest(&second);
    limited.backup(&["show", &first]).exits(4);
    limited.backup(&["show", &other]).exits(0);
    limited.backup(&["list"]).exits(0).says("partial");

    limited.backup(&["drill", "shop"]).exits(0);
    let target = limited.0.server.uri("copy");
    limited.backup(&["restore", "shop/latest", "--to", &target]).exits(0);
    assert_eq!(limited.0.counts("copy"), [("public.customers".to_owned(), 603)]);
    let over = limited.backup(&["restore", "shop/latest", "--to", &target, "--replace", "--yes"]).exits(0);
    over.says("exclude tables public.orders");
}

#[test]
fn what_was_left_out_counts_for_no_job_that_asks_for_more() {
    let limited = Limited::open();
    let part = limited.run(&[]);
    limited.configure("");
    limited.backup(&["status"]).exits(3).says("there is no good full backup");
    limited.backup(&["show", "shop/latest"]).exits(4);
    // Nothing goes while there is nothing that counts.
    limited.backup(&["prune"]).exits(0);
    limited.backup(&["show", &part]).exits(0);

    let whole = limited.run(&[]);
    limited.is_the_latest(&whole);
    limited.backup(&["status"]).exits(0);

    // Who asks for less may have more.
    limited.configure("exclude_tables = [\"public.orders\"]");
    limited.is_the_latest(&whole);
    limited.backup(&["status"]).exits(0);
}
