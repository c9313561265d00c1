//! The guides and the front page are followed to the letter, on real databases: a guide that lies fails the build.

#[path = "support/guide.rs"]
mod guide;
#[path = "support/postgres.rs"]
mod postgres;
#[path = "support/program.rs"]
mod program;

use guide::Guide;
use postgres::Server;

/// A guide whose reader has a server of that major on this machine.
fn beside(server: &Server, name: &str) -> Guide {
    let guide = Guide::open(name).with_programs(server.bin());
    guide.with("PGPORT", &server.port().to_string()).with("PGUSER", "postgres")
}

#[test]
fn an_application_on_one_sqlite_file() {
    Guide::open("docs/guides/sqlite-application.md").follow();
}

#[test]
fn a_database_that_scripts_feed() {
    let server = Server::start(16);
    let guide = beside(&server, "docs/guides/scripts-and-dropbox.md");
    guide.with("PGHOST", "127.0.0.1").with("PGDATABASE", "stocks_research").follow();
}

#[test]
fn a_web_application_in_containers() {
    beside(&Server::start(18), "docs/guides/web-application.md").follow();
}

#[test]
fn dumps_that_are_published() {
    beside(&Server::start(15), "docs/guides/published-dumps.md").follow();
}

#[test]
fn a_server_in_production() {
    beside(&Server::start(15), "docs/guides/postgres-in-production.md").follow();
}

#[test]
fn the_front_page_shows_it_on_a_file_and_on_a_server() {
    let server = Server::start(15);
    server.create_database("shop", "");
    let guide = beside(&server, "README.md").before("## Why not the script");
    let guide = guide.read_as("cargo run --release -- ", "backup ");
    let guide = guide.read_as("postgres://you@host/database", "postgres://postgres@localhost/shop");
    guide.after("sqlite3 YOUR.db 'CREATE TABLE t(a); INSERT INTO t VALUES (1)'").follow();
}

#[test]
fn the_tour_is_five_lines_and_five_more() {
    let guide = Guide::open("README.md").section("## A tour in five lines");
    let guide = guide.after(
        "
        sqlite3 app.db 'CREATE TABLE orders(id INTEGER PRIMARY KEY, what TEXT); INSERT INTO orders(what) VALUES (1), (2)'
        mkdir old; sqlite3 app.db '.backup old/app-2026-01-22.db'
        printf '#!/bin/sh\\nsqlite3 app.db \"ALTER TABLE orders ADD COLUMN note\"' >migrate.sh; chmod +x migrate.sh",
    );
    guide.follow();
}

#[test]
fn a_recovery_by_hand_needs_stock_tools_only() {
    let server = Server::start(15);
    server.create_database("shop", "");
    server.create_database("new_database", "");
    let (dump, copy) = ("backups/shop/full/ID.globals.sql.zst", "backups/shop/full/*.globals.sql.zst");
    let guide = beside(&server, "README.md").section("## Recovery by hand, without this program");
    let guide = guide
        .read_as("psql postgres ", "psql -h localhost postgres ")
        .read_as("-d new_database", "-h localhost -d new_database");
    let guide = guide
        .read_as(&format!("< {dump}"), copy)
        .read_as("< ID.db.zst.age", "sealed/app/full/latest.db.zst.age");
    let guide = guide.after(
        "
        sqlite3 app.db 'CREATE TABLE orders(id INTEGER PRIMARY KEY); INSERT INTO orders VALUES (1), (2)'
        age-keygen -o key.txt 2>keygen
        backup run app.db; backup --store sealed run app.db --recipient $(age-keygen -y key.txt)
        psql -q -h localhost shop -c 'CREATE TABLE orders AS SELECT 1 AS id'
        backup run postgres://postgres@localhost/shop
        rm app.db",
    );
    guide.follow();
}
