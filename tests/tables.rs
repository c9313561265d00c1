//! Single tables: looked at as text, and put back into a database that is in use.

use std::{fs, path::Path, process::Command};

use backup::{
    Backups, BlockingJob, Error, ErrorKind, RestoreOptions, Restored, RunOptions, Taken, engine::Target,
};
use rusqlite::Connection;

const SHOP: &str = "
    CREATE TABLE customers(id INTEGER PRIMARY KEY, name TEXT, shout TEXT AS (upper(name)) VIRTUAL);
    CREATE TABLE orders(id INTEGER PRIMARY KEY, customer INTEGER REFERENCES customers(id), note TEXT);
    CREATE TABLE tags(word TEXT PRIMARY KEY, n INTEGER) WITHOUT ROWID;
    CREATE TABLE log(what TEXT);
    CREATE INDEX by_customer ON orders(customer);
    CREATE TRIGGER on_order AFTER INSERT ON orders BEGIN INSERT INTO log VALUES('order ' || new.id); END;
    CREATE TRIGGER on_delete AFTER DELETE ON orders BEGIN INSERT INTO log VALUES('gone ' || old.id); END;
    INSERT INTO customers(name) VALUES('Ada'), ('Bo''b'), (NULL);
    INSERT INTO orders(customer, note) VALUES(1, 'x'), (1, 'y'), (2, 'line' || char(10) || 'two');
    INSERT INTO tags VALUES('a', 1), ('b', 2);";

struct Shop {
    folder: tempfile::TempDir,
    connection: Connection,
}

impl Shop {
    fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let connection = Connection::open(folder.path().join("shop.db")).unwrap();
        connection.execute_batch("PRAGMA journal_mode=WAL; PRAGMA foreign_keys=OFF").unwrap();
        connection.execute_batch(SHOP).unwrap();
        Self { folder, connection }
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("shop.db")
    }

    fn job(&self) -> BlockingJob {
        let store = self.folder.path().join("backups").display().to_string();
        let backups = Backups::builder()
            .store(store)
            .source("shop", self.path().display().to_string())
            .build()
            .unwrap();
        backups.job("shop").unwrap().blocking()
    }

    fn back_up(&self) -> Taken {
        self.job().run(RunOptions::default().with_accept(true)).unwrap()
    }

    fn bring_back(&self, taken: &Taken, tables: &[&str]) -> Result<Restored, Error> {
        let tables = tables.iter().map(|&table| table.to_owned()).collect();
        self.job()
            .restore(taken.id(), RestoreOptions::into(Target::SqliteFile(self.path())).with_tables(tables))
    }

    fn one(&self, sql: &str) -> String {
        self.connection
            .query_row(sql, [], |row| row.get::<_, rusqlite::types::Value>(0))
            .map(|v| format!("{v:?}"))
            .unwrap()
    }

    fn count(&self, table: &str) -> i64 {
        self.connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    }
}

fn extract(folder: &Path, table: &str, format: &str) -> String {
    let backup = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join("backup");
    assert!(backup.exists(), "build it first: cargo build -p backup-cli");
    let output = Command::new(backup)
        .args([
            "--store",
            folder.join("backups").to_str().unwrap(),
            "extract",
            "latest",
            "--table",
            table,
            "--format",
            format,
        ])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn an_extracted_table_reads_back_through_the_stock_shell() {
    let shop = Shop::open();
    shop.back_up();
    let sql = extract(shop.folder.path(), "customers", "sql");
    assert!(sql.contains("INSERT INTO \"customers\"(\"id\",\"name\") VALUES(2,'Bo''b');"), "{sql}");
    assert!(sql.ends_with("-- 3 rows\n"), "{sql}");
    let copy = shop.folder.path().join("copy.db");
    Connection::open(&copy).unwrap().execute_batch(SHOP).unwrap();
    let script = shop.folder.path().join("customers.sql");
    fs::write(&script, format!("DELETE FROM customers;\n{sql}")).unwrap();
    let loaded = Command::new("sqlite3")
        .arg(&copy)
        .arg(format!(".read '{}'", script.display()))
        .output()
        .expect("sqlite3 runs");
    assert!(loaded.status.success() && loaded.stderr.is_empty(), "{loaded:?}");
    let shouts: String = Connection::open(&copy)
        .unwrap()
        .query_row("SELECT group_concat(coalesce(shout, '-')) FROM customers", [], |row| row.get(0))
        .unwrap();
    assert_eq!(shouts, "ADA,BO'B,-");
    assert_eq!(
        extract(shop.folder.path(), "orders", "csv"),
        "id,customer,note\r\n1,1,x\r\n2,1,y\r\n3,2,\"line\ntwo\"\r\n"
    );
}

#[test]
fn a_table_comes_back_into_a_database_in_use_and_the_undo_line_takes_it_away_again() {
    let shop = Shop::open();
    let taken = shop.back_up();
    shop.connection.execute_batch("DELETE FROM orders WHERE id > 1; UPDATE orders SET note = 'wrong'; INSERT INTO tags VALUES('c', 3)").unwrap();
    let (logged, notes) = (shop.count("log"), shop.one("SELECT group_concat(note) FROM orders"));

    let restored = shop.bring_back(&taken, &["orders"]).unwrap();
    assert_eq!(shop.one("SELECT group_concat(note) FROM orders"), "Text(\"x,y,line\\ntwo\")");
    assert_eq!(shop.count("log"), logged, "triggers do not fire for rows that are put back");
    assert_eq!(shop.count("tags"), 3, "other tables are left alone");
    assert_eq!(shop.one("PRAGMA integrity_check"), "Text(\"ok\")");
    assert!(restored.swapped.kept[0].starts_with("orders__before_"), "{:?}", restored.swapped.kept);

    shop.connection.execute_batch("DROP TRIGGER on_order; DROP TRIGGER on_delete").unwrap();
    let undone = Command::new("sh").arg("-c").arg(restored.swapped.undo.unwrap()).output().unwrap();
    assert!(undone.status.success(), "{undone:?}");
    assert_eq!(shop.one("SELECT group_concat(note) FROM orders"), notes);
}

#[test]
fn a_dropped_table_comes_back_with_its_index_and_triggers() {
    let shop = Shop::open();
    let taken = shop.back_up();
    shop.connection.execute_batch("DROP TABLE orders; DROP TABLE tags").unwrap();
    shop.bring_back(&taken, &["orders", "tags"]).unwrap();
    assert_eq!((shop.count("orders"), shop.count("tags")), (3, 2));
    let dependents = shop.one("SELECT group_concat(name) FROM (SELECT name FROM sqlite_schema WHERE tbl_name = 'orders' AND type <> 'table' ORDER BY name)");
    assert_eq!(dependents, "Text(\"by_customer,on_delete,on_order\")");
}

#[test]
fn what_cannot_be_put_back_whole_changes_nothing() {
    let shop = Shop::open();
    let taken = shop.back_up();
    let unknown = shop.bring_back(&taken, &["nonsense"]).unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
    assert!(unknown.hint().unwrap().contains("customers, orders, tags, log"), "{unknown:?}");

    shop.connection.execute_batch("ALTER TABLE tags ADD COLUMN more; DELETE FROM customers WHERE id = 2; DELETE FROM orders WHERE customer = 2").unwrap();
    let different = shop.bring_back(&taken, &["tags"]).unwrap_err();
    assert!(different.to_string().contains("defined differently"), "{different:?}");
    let dangling = shop.bring_back(&taken, &["orders"]).unwrap_err();
    assert!(dangling.to_string().contains("refer to nothing"), "{dangling:?}");
    assert_eq!((shop.count("orders"), shop.count("tags")), (2, 2));
    assert_eq!(shop.one("SELECT count(*) FROM sqlite_schema WHERE name LIKE '%before%'"), "Integer(0)");
    shop.bring_back(&taken, &["orders", "customers"]).unwrap();
    assert_eq!((shop.count("orders"), shop.count("customers")), (3, 3));
}

#[test]
fn a_whole_restore_is_refused_while_the_shop_is_open() {
    let shop = Shop::open();
    let taken = shop.back_up();
    let options = RestoreOptions::into(Target::SqliteFile(shop.path())).with_replace(true);
    let refused = shop.job().restore(taken.id(), options.clone()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Busy);
    assert!(refused.to_string().contains(&format!("(pid {})", std::process::id())), "{refused:?}");
    let Shop { folder, connection } = shop;
    connection.close().unwrap();
    let shop = Shop { connection: Connection::open_in_memory().unwrap(), folder };
    shop.job().restore(taken.id(), options).unwrap();
}

#[test]
fn rolling_definitions_and_rows_rebuild_the_database_by_hand() {
    let shop = Shop::open();
    for content in ["schema", "data"] {
        for _ in 0..2 {
            let taken = shop.job().run(RunOptions::default().with_content(content.parse().unwrap())).unwrap();
            assert!(taken.is_good());
        }
    }
    let text = |name: &str| fs::read_to_string(shop.folder.path().join("backups/shop").join(name)).unwrap();
    let rebuilt = Connection::open_in_memory().unwrap();
    rebuilt.execute_batch(&text("schema/shop-schema.sql")).unwrap();
    rebuilt.execute_batch("DROP TRIGGER on_order").unwrap();
    rebuilt.execute_batch(&text("data/shop-data.sql")).unwrap();
    let notes: String =
        rebuilt.query_row("SELECT group_concat(note) FROM orders", [], |row| row.get(0)).unwrap();
    assert_eq!(notes, "x,y,line\ntwo");
    assert_eq!(shop.job().list().unwrap().len(), 2, "rolling artifacts take each other's place");
}
