-- Tables that are large enough to have their indexes built by sessions of our own, with keys of every form.
CREATE TABLE customers (id bigint PRIMARY KEY, region int NOT NULL, number int NOT NULL, email text, note text, CONSTRAINT "by ""region"" (odd)" UNIQUE (region, number));
INSERT INTO customers SELECT n, n % 7, n, 'c' || n || '@example.org', repeat(md5(n::text), 3) FROM generate_series(1, 20000) AS n;
CREATE TABLE "Odd Orders" (id int NOT NULL, "the (customer)" bigint NOT NULL REFERENCES customers, line int NOT NULL, later int, said text,
    CONSTRAINT "odd key" PRIMARY KEY (id, "the (customer)"), CONSTRAINT deferred UNIQUE (id, line) DEFERRABLE INITIALLY DEFERRED, CONSTRAINT including UNIQUE (id) INCLUDE (said), CONSTRAINT loose UNIQUE (later) WITH (fillfactor = 70));
INSERT INTO "Odd Orders" SELECT n, n % 20000 + 1, n % 3, nullif(n % 2, 0) * n, repeat(md5(n::text), 3) FROM generate_series(1, 20000) AS n;
ALTER TABLE "Odd Orders" ADD CONSTRAINT no_nulls UNIQUE NULLS NOT DISTINCT (id, later);
ALTER TABLE "Odd Orders" REPLICA IDENTITY USING INDEX "odd key";
ALTER TABLE customers CLUSTER ON "by ""region"" (odd)";
COMMENT ON CONSTRAINT "odd key" ON "Odd Orders" IS 'said of the key';
CREATE UNIQUE INDEX plain_unique ON customers (lower(email) DESC NULLS LAST) WHERE region > 2;
COMMENT ON INDEX plain_unique IS 'said of an index';
CREATE INDEX measured ON customers ((number + region), id);
ALTER INDEX measured ALTER COLUMN 1 SET STATISTICS 500;
CREATE INDEX by_words ON customers USING gin (to_tsvector('simple', note));
CREATE INDEX ranged ON customers USING brin (id) WITH (pages_per_range = 8);
CREATE STATISTICS together ON region, number FROM customers;
CREATE TABLE heirs (extra int, PRIMARY KEY (id)) INHERITS (customers);
CREATE TABLE visits (id int PRIMARY KEY, customer bigint NOT NULL REFERENCES customers, said text);
INSERT INTO visits SELECT n, n, repeat(md5(n::text), 3) FROM generate_series(1, 20000) AS n;
CREATE INDEX shouted ON visits (upper(said));
CREATE VIEW by_customer AS SELECT c.id, c.email, count(o.id) FROM customers AS c LEFT JOIN "Odd Orders" AS o ON o."the (customer)" = c.id GROUP BY c.id;
CREATE MATERIALIZED VIEW regions AS SELECT region, count(*) FROM customers GROUP BY region;
CREATE UNIQUE INDEX regions_key ON regions (region);
