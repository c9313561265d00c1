//! The database that benches back up: a shop with realistic text and numbers, the same on every run.

use std::{error::Error, path::Path};

use rusqlite::{Connection, Params};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const SCHEMA: &str = "
PRAGMA page_size = 4096; PRAGMA journal_mode = off; PRAGMA synchronous = off; PRAGMA cache_size = -200000;
CREATE TABLE customers(id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT, joined INTEGER, balance REAL, profile TEXT);
CREATE TABLE products(id INTEGER PRIMARY KEY, sku TEXT NOT NULL, title TEXT NOT NULL, stock INTEGER CHECK (stock >= 0));
CREATE TABLE orders(id INTEGER PRIMARY KEY, reference TEXT, customer INTEGER NOT NULL REFERENCES customers,
  status TEXT NOT NULL, placed INTEGER NOT NULL, cents INTEGER NOT NULL, remark TEXT);
CREATE TABLE order_lines(id INTEGER PRIMARY KEY, ordered INTEGER NOT NULL REFERENCES orders,
  product INTEGER NOT NULL REFERENCES products, quantity INTEGER CHECK (quantity > 0), cents INTEGER, discount REAL);
CREATE TABLE prices_daily(product INTEGER NOT NULL REFERENCES products, day INTEGER NOT NULL, price REAL NOT NULL,
  spread REAL NOT NULL, volume INTEGER NOT NULL, PRIMARY KEY (product, day)) WITHOUT ROWID;
CREATE TABLE documents(id INTEGER PRIMARY KEY, customer INTEGER NOT NULL REFERENCES customers,
  token TEXT NOT NULL, title TEXT NOT NULL, body TEXT NOT NULL, meta TEXT NOT NULL);
BEGIN";

/// The indexes come after the rows, and some rows go again, so that there are free pages and half-full ones.
const INDEXES: &str = "
CREATE UNIQUE INDEX email ON customers(email); CREATE UNIQUE INDEX sku ON products(sku);
CREATE INDEX customer ON orders(customer); CREATE INDEX placed ON orders(placed, status);
CREATE INDEX ordered ON order_lines(ordered); CREATE INDEX product ON order_lines(product);
CREATE INDEX day ON prices_daily(day);
CREATE UNIQUE INDEX token ON documents(token); CREATE INDEX title ON documents(customer, title);
DELETE FROM documents WHERE id % 97 = 0; DELETE FROM order_lines WHERE id % 211 < 2;
COMMIT; PRAGMA journal_mode = wal";

/// Makes the database, of about so many MiB.
pub(crate) fn create_shop(path: &Path, mib: i64) -> Result<()> {
    let shop = Connection::open(path)?;
    shop.execute_batch(SCHEMA)?;
    let (customers, products, orders, lines) = (mib * 312, mib * 51, mib * 1282, mib * 2000);
    let r = &mut Words::new();
    fill(&shop, "customers VALUES (?,?,?,?,?,?)", customers, |id| {
        let profile = format!(r#"{{"seen":{},"ref":"{}"}}"#, r.below(100_000), r.hex(1));
        (id, r.text(12), format!("{}{id}@shop.example", r.word()), r.below(1 << 30), r.unit(), profile)
    })?;
    fill(&shop, "products VALUES (?,?,?,?)", products, |id| (id, r.hex(1), r.text(40), r.below(500)))?;
    fill(&shop, "orders VALUES (?,?,?,?,?,?,?)", orders, |id| {
        let status = ["delivered", "sent", "open", "paid"][r.skewed(4) as usize];
        let remark = (r.below(5) == 0).then(|| r.text(60));
        (id, r.hex(1), 1 + r.below(customers), status, 1_600_000_000 + id * 40, r.below(200_000), remark)
    })?;
    fill(&shop, "order_lines VALUES (?,?,?,?,?,?)", lines, |id| {
        let discount = (r.below(2) == 0).then(|| r.unit());
        (
            id,
            1 + id * orders / (lines + 1),
            1 + r.below(products),
            1 + r.skewed(20),
            r.below(10_000_000),
            discount,
        )
    })?;
    fill(&shop, "prices_daily VALUES (?,?,?,?,?)", products * 30, |id| {
        (1 + (id - 1) / 30, id % 30, 100.0 * r.unit(), r.unit(), r.skewed(1_000_000))
    })?;
    fill(&shop, "documents VALUES (?,?,?,?,?,?)", mib * 560, |id| {
        let meta = format!(r#"{{"kind":"note","pages":{},"hash":"{}"}}"#, r.below(30), r.hex(3));
        let length = 220 + r.skewed(4000);
        (id, 1 + r.below(customers), r.hex(2), r.text(30), r.text(length), meta)
    })?;
    Ok(shop.execute_batch(INDEXES)?)
}

fn fill<P: Params>(shop: &Connection, into: &str, rows: i64, mut row: impl FnMut(i64) -> P) -> Result<()> {
    let mut insert = shop.prepare(&format!("INSERT INTO {into}"))?;
    (1..=rows).try_for_each(|id| insert.execute(row(id)).map(drop)).map_err(Into::into)
}

/// The same numbers and words on every run: splitmix64, and a vocabulary used about as unevenly as a language.
struct Words {
    state: u64,
    vocabulary: Vec<String>,
}

impl Words {
    fn new() -> Self {
        let mut words = Self { state: 42, vocabulary: Vec::new() };
        words.vocabulary = (0..60_000).map(|rank| words.invented(2 + i64::min(rank / 40, 2))).collect();
        words
    }

    fn invented(&mut self, shortest: i64) -> String {
        let sets = [b"tnsrhldcmfpgwybvkxjqz".as_slice(), b"eeaioutnrsy"];
        let length = shortest + self.below(6);
        let pick = |at| sets[at as usize % 2][self.skewed(sets[at as usize % 2].len() as i64) as usize];
        (0..length).map(pick).map(char::from).collect()
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn below(&mut self, end: i64) -> i64 {
        (self.unit() * end as f64) as i64
    }

    /// Zipf-like: each number about as often as the inverse of its rank.
    fn skewed(&mut self, end: i64) -> i64 {
        (((end as f64 + 1.0).ln() * self.unit()).exp() as i64 - 1).min(end - 1)
    }

    fn hex(&mut self, groups: usize) -> String {
        (0..groups).map(|_| format!("{:016x}", self.next())).collect()
    }

    fn word(&mut self) -> &str {
        let end = self.vocabulary.len() as i64;
        let rank = if self.below(2) == 0 { self.below(end) } else { self.skewed(end) };
        &self.vocabulary[rank as usize]
    }

    fn text(&mut self, length: i64) -> String {
        let mut text = String::new();
        while (text.len() as i64) < length {
            let gap = if self.below(9) == 0 { ". " } else { " " };
            text = text + self.word() + gap;
        }
        text
    }
}
