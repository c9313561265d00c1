//! A dump that is whole and yet not what it should be is kept, told, and does not count as good.

mod support;

#[path = "support/postgres.rs"]
mod postgres;
#[path = "support/postgres_shop.rs"]
mod postgres_shop;

use postgres_shop::PgShop;

#[track_caller]
fn is_the_latest(shop: &PgShop, id: &str) {
    assert_eq!(shop.manifest("latest")["id"], id);
}

#[test]
fn a_dump_with_far_fewer_rows_is_suspect_until_somebody_accepts_it() {
    let shop = PgShop::open(16);
    let good = shop.back_up();
    shop.execute("DELETE FROM orders WHERE id > 200");
    let told = shop.backup(&["run", &shop.uri()]).exits(3).says("SUSPECT").says("ratchet").says("--accept");
    let suspect = told.stdout.trim().to_owned();
    assert_eq!(shop.folder.listed(), [good.as_str(), &suspect]);
    assert_eq!(shop.manifest(&suspect)["suspect"][0]["rule"], "ratchet");
    is_the_latest(&shop, &good);
    shop.backup(&["verify", &suspect]).says(&suspect);
    shop.backup(&["list"]).exits(0).says("SUSPECT");

    // As long as nobody says otherwise, the next one is no better.
    shop.backup(&["run", &shop.uri()]).exits(3);
    let accepted = shop.back_up_with(&["--accept"]);
    is_the_latest(&shop, &accepted);
    let next = shop.back_up();
    is_the_latest(&shop, &next);
}

#[test]
fn a_slow_loss_is_measured_by_the_most_rows_ever_seen() {
    let shop = PgShop::open(15);
    shop.back_up();
    for _ in 0..2 {
        shop.execute("DELETE FROM orders WHERE id IN (SELECT id FROM orders ORDER BY id LIMIT 45)");
        shop.back_up();
    }
    shop.execute("DELETE FROM orders WHERE id IN (SELECT id FROM orders ORDER BY id LIMIT 45)");
    shop.backup(&["run", &shop.uri()]).exits(3).says("SUSPECT");
}

#[test]
fn fewer_rows_than_are_required_are_suspect_from_the_first_dump_on() {
    let shop = PgShop::open(18);
    let suspect =
        shop.backup(&["run", &shop.uri(), "--min-rows", "5000"]).exits(3).says("min_rows").says("5000");
    shop.backup(&["show", "latest"]).exits(4);
    shop.backup(&["show", suspect.stdout.trim()]).exits(0).says("SUSPECT");
    let good = shop.back_up_with(&["--min-rows", "1000"]);
    is_the_latest(&shop, &good);
}

#[test]
fn a_table_that_is_gone_is_told() {
    let shop = PgShop::open(15);
    shop.execute("CREATE TABLE trifles AS SELECT 1 AS id");
    shop.back_up();
    shop.execute("DROP TABLE trifles");
    let next = shop.backup(&["run", &shop.uri()]).exits(0).says("public.trifles").says("warning: ");
    is_the_latest(&shop, next.stdout.trim());
}

#[test]
fn a_part_of_a_database_is_never_its_latest_backup() {
    let shop = PgShop::open(16);
    let whole = shop.back_up();
    for options in [
        &["--table", "orders"][..],
        &["--exclude-table", "orders"],
        &["--exclude-table-data", "orders"],
        &["--schema", "public"],
    ] {
        let part = shop.back_up_with(options);
        is_the_latest(&shop, &whole);
        shop.backup(&["verify", &part]).exits(0);
        assert_eq!(
            shop.manifest(&part)["suspect"],
            serde_json::json!([]),
            "a part is not measured by the whole"
        );
    }
    let next = shop.backup(&["run", &shop.uri()]).exits(0);
    assert!(!next.stderr.contains("gone"), "the whole is not measured by a part: {next:#?}");
    is_the_latest(&shop, next.stdout.trim());
}

#[test]
fn tables_that_a_part_leaves_out_are_not_in_it() {
    let shop = PgShop::open(15);
    let names = |options: &[&str]| -> Vec<String> {
        let id = shop.back_up_with(options);
        postgres_shop::stated(&shop.manifest(&id)).into_iter().map(|(name, _)| name).collect()
    };
    assert_eq!(names(&["--table", "ord*"]), ["public.orders"]);
    assert_eq!(names(&["--exclude-table", "public.orders"]), ["public.customers"]);
    assert_eq!(names(&["--exclude-table-data", "customers"]), ["public.orders"]);
}

/// Definitions and rows are kept as text that can be compared, one of each.
#[test]
fn definitions_and_rows_are_kept_as_text() {
    let shop = PgShop::open(16);
    for content in ["schema", "data"] {
        let arguments = ["run", &shop.uri(), "--content", content];
        shop.backup(&arguments).exits(0);
        shop.backup(&arguments).exits(0);
        let latest = format!("latest:{content}");
        shop.backup(&["verify", &latest]).exits(0);
        let text = shop.backup(&["cat", &latest]).exits(0).stdout;
        assert_eq!(text.contains("CREATE TABLE public.customers"), content == "schema");
        assert_eq!(text.contains("COPY public.customers"), content == "data");
        assert_eq!(shop.folder.listed().iter().filter(|id| id.contains(content)).count(), 1);
    }
}
