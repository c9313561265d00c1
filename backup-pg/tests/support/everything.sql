-- A schema with everything that PostgreSQL 15, 16 and 18 can hold, with data. Plain SQL: no client's commands.
-- Where builds differ (extensions, XML, ICU, newer majors), a DO block looks before it creates.

-- Without the warning that the server's wal_level does not serve publications.
SET client_min_messages = error;
SET check_function_bodies = on;

-- Roles belong to the whole server: another database may have made them.
DO $$
DECLARE role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['shop_owner', 'shop_reader', 'shop_clerk', 'odd "role" of José'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            EXECUTE format('CREATE ROLE %I', role_name);
        END IF;
    END LOOP;
    IF NOT pg_has_role('shop_clerk', 'shop_reader', 'MEMBER') THEN
        GRANT shop_reader TO shop_clerk;
    END IF;
END $$;

-- What a dump holds only with the command that makes its database.
DO $$
BEGIN
    EXECUTE format('ALTER DATABASE %I SET work_mem TO ''6MB''', current_database());
    EXECUTE format('ALTER DATABASE %I SET search_path TO shop, public', current_database());
    EXECUTE format('ALTER ROLE shop_reader IN DATABASE %I SET statement_timeout TO ''1min''', current_database());
    EXECUTE format('ALTER DATABASE %I CONNECTION LIMIT 90', current_database());
    EXECUTE format('COMMENT ON DATABASE %I IS ''all that''''s there''', current_database());
    EXECUTE format('GRANT CONNECT, TEMPORARY ON DATABASE %I TO shop_reader WITH GRANT OPTION', current_database());
END $$;

CREATE SCHEMA shop AUTHORIZATION shop_owner;
CREATE SCHEMA "odd ""schema""
with a line feed";
CREATE SCHEMA empty;
COMMENT ON SCHEMA shop IS 'a ''shop''
in two lines, with a \ and a tab	';
GRANT USAGE ON SCHEMA shop TO shop_reader, "odd ""role"" of José";
GRANT CREATE ON SCHEMA shop TO shop_clerk WITH GRANT OPTION;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO PUBLIC;

-- Types.
CREATE TYPE shop.mood AS ENUM ('sad', 'so-so', 'it''s "great"', 'ünïcode', '');
ALTER TYPE shop.mood ADD VALUE 'ok' BEFORE 'so-so';
CREATE DOMAIN shop.email AS text COLLATE "C" DEFAULT 'nobody@example.org'
    CONSTRAINT has_at CHECK (VALUE LIKE '%@%') CONSTRAINT short CHECK (length(VALUE) < 100);
CREATE DOMAIN shop.percentage AS numeric(5, 2) NOT NULL CHECK (VALUE BETWEEN 0 AND 100);
CREATE DOMAIN shop.work_email AS shop.email CHECK (VALUE NOT LIKE '%@home%');
CREATE TYPE shop.address AS (street text, number integer, geo point, tags text[]);
CREATE TYPE shop.person AS (name text, home shop.address, others shop.address[], mail shop.email);
CREATE DOMAIN shop.known_address AS shop.address CHECK ((VALUE).number IS DISTINCT FROM -1);
CREATE FUNCTION shop.distance(a double precision, b double precision) RETURNS double precision
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE RETURN b - a;
CREATE TYPE shop.span AS RANGE (subtype = double precision, subtype_diff = shop.distance,
    multirange_type_name = shop.spans);
CREATE TYPE shop.label;
CREATE FUNCTION shop.label_in(cstring) RETURNS shop.label LANGUAGE internal IMMUTABLE STRICT AS 'textin';
CREATE FUNCTION shop.label_out(shop.label) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout';
CREATE TYPE shop.label (INPUT = shop.label_in, OUTPUT = shop.label_out, LIKE = text, CATEGORY = 'X', COLLATABLE = true);
CREATE TYPE shop.never_defined;
COMMENT ON TYPE shop.mood IS 'how it is';
COMMENT ON DOMAIN shop.email IS 'an address';
COMMENT ON CONSTRAINT has_at ON DOMAIN shop.email IS 'the at sign';
GRANT USAGE ON TYPE shop.mood TO shop_reader;
REVOKE USAGE ON TYPE shop.span FROM PUBLIC;
ALTER TYPE shop.person OWNER TO shop_owner;

-- Functions, procedures, aggregates, operators, casts.
CREATE FUNCTION shop.add_tax(price numeric, rate numeric DEFAULT 0.19, OUT gross numeric) LANGUAGE sql IMMUTABLE
    BEGIN ATOMIC
        SELECT round(price * (1 + rate), 2);
    END;
CREATE FUNCTION shop.greet(VARIADIC names text[]) RETURNS text LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER
    SET search_path FROM CURRENT COST 7 AS $body$
BEGIN
    RETURN 'hello "' || array_to_string(names, $sep$', '$sep$) || '" \ ' || chr(10);
END $body$;
CREATE FUNCTION shop.numbers(count integer) RETURNS TABLE (n integer, square bigint) ROWS 5 LANGUAGE sql AS
    'SELECT n, n::bigint * n FROM generate_series(1, count) n';
CREATE FUNCTION shop.same(anyelement) RETURNS anyelement LANGUAGE sql IMMUTABLE LEAKPROOF PARALLEL SAFE AS 'SELECT $1';
CREATE PROCEDURE shop.forget(INOUT rows integer) LANGUAGE plpgsql AS $$ BEGIN rows := rows + 1; END $$;
CREATE FUNCTION shop.sum_step(state numeric, value numeric) RETURNS numeric
    LANGUAGE sql IMMUTABLE AS 'SELECT coalesce(state, 0) + coalesce(value, 0)';
CREATE AGGREGATE shop.total(numeric) (SFUNC = shop.sum_step, STYPE = numeric, COMBINEFUNC = shop.sum_step,
    INITCOND = '0', PARALLEL = safe);
CREATE AGGREGATE shop.middle(double precision ORDER BY double precision)
    (SFUNC = ordered_set_transition, STYPE = internal, FINALFUNC = percentile_cont_float8_final);
CREATE FUNCTION shop.mood_rank(shop.mood) RETURNS integer LANGUAGE sql IMMUTABLE STRICT
    AS $$ SELECT array_position(enum_range(NULL::shop.mood), $1) $$;
CREATE FUNCTION shop.near(a point, b point) RETURNS boolean LANGUAGE sql IMMUTABLE STRICT AS 'SELECT (a <-> b) < 1';
CREATE OPERATOR shop.=~= (FUNCTION = shop.near, LEFTARG = point, RIGHTARG = point, COMMUTATOR = OPERATOR(shop.=~=));
CREATE OPERATOR shop.!! (FUNCTION = shop.mood_rank, RIGHTARG = shop.mood);
CREATE CAST (shop.mood AS integer) WITH FUNCTION shop.mood_rank(shop.mood) AS ASSIGNMENT;
CREATE CAST (shop.label AS text) WITHOUT FUNCTION AS IMPLICIT;
CREATE CAST (shop.address AS text) WITH INOUT;
CREATE FUNCTION shop.compare_backwards(a integer, b integer) RETURNS integer LANGUAGE sql IMMUTABLE STRICT
    AS 'SELECT btint4cmp(b, a)';
CREATE OPERATOR FAMILY shop.backwards_family USING btree;
CREATE OPERATOR CLASS shop.backwards FOR TYPE integer USING btree FAMILY shop.backwards_family AS
    OPERATOR 1 >, OPERATOR 2 >=, OPERATOR 3 =, OPERATOR 4 <=, OPERATOR 5 <,
    FUNCTION 1 shop.compare_backwards(integer, integer);
COMMENT ON FUNCTION shop.add_tax(numeric, numeric) IS 'gross';
COMMENT ON AGGREGATE shop.total(numeric) IS 'a sum';
COMMENT ON OPERATOR shop.=~= (point, point) IS 'near';
COMMENT ON CAST (shop.mood AS integer) IS 'its rank';
REVOKE EXECUTE ON FUNCTION shop.greet(text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION shop.greet(text[]) TO shop_clerk WITH GRANT OPTION;
GRANT EXECUTE ON PROCEDURE shop.forget(integer) TO shop_reader;
ALTER FUNCTION shop.add_tax(numeric, numeric) OWNER TO shop_owner;

-- Collations, conversions, access methods, text search.
CREATE COLLATION shop.plain (provider = libc, locale = 'C.UTF-8');
DO $$
BEGIN
    EXECUTE $ddl$ CREATE COLLATION shop.german (provider = icu, locale = 'de-u-co-phonebk', deterministic = false) $ddl$;
    EXECUTE $ddl$ CREATE TABLE shop.german_names (name text COLLATE shop.german UNIQUE) $ddl$;
    EXECUTE $ddl$ INSERT INTO shop.german_names VALUES ('Müller'), ('Mutter'), ('Zoë') $ddl$;
EXCEPTION WHEN feature_not_supported THEN NULL;
END $$;
CREATE CONVERSION shop.to_latin1 FOR 'UTF8' TO 'LATIN1' FROM utf8_to_iso8859_1;
CREATE ACCESS METHOD second_heap TYPE TABLE HANDLER heap_tableam_handler;
CREATE TEXT SEARCH PARSER shop.words (START = prsd_start, GETTOKEN = prsd_nexttoken, END = prsd_end,
    LEXTYPES = prsd_lextype, HEADLINE = prsd_headline);
CREATE TEXT SEARCH TEMPLATE shop.plain_words (INIT = dsimple_init, LEXIZE = dsimple_lexize);
CREATE TEXT SEARCH DICTIONARY shop.stopless (TEMPLATE = shop.plain_words, accept = false);
CREATE TEXT SEARCH CONFIGURATION shop.goods (PARSER = shop.words);
ALTER TEXT SEARCH CONFIGURATION shop.goods ADD MAPPING FOR asciiword, word WITH shop.stopless, english_stem;
COMMENT ON TEXT SEARCH CONFIGURATION shop.goods IS 'for goods';

-- Sequences.
CREATE SEQUENCE shop.untouched;
CREATE SEQUENCE shop.used AS smallint INCREMENT 3 START 7 CACHE 4;
CREATE SEQUENCE shop.descending INCREMENT -2 MAXVALUE -1 MINVALUE -1000 START -5;
CREATE SEQUENCE shop.cycling MINVALUE 1 MAXVALUE 3 CYCLE;
CREATE UNLOGGED SEQUENCE shop.unlogged_numbers;
CREATE SEQUENCE shop."Odd; -- sequence";
SELECT nextval('shop.used'), nextval('shop.descending') FROM generate_series(1, 5);
SELECT nextval('shop.cycling') FROM generate_series(1, 4);
SELECT setval('shop."Odd; -- sequence"', 9223372036854775806, false);
GRANT USAGE, SELECT ON SEQUENCE shop.used TO shop_reader;

-- Every type, with its edges.
CREATE TABLE shop.values_of_all_types (
    id integer PRIMARY KEY, b boolean, i2 smallint, i4 integer, i8 bigint, f4 real, f8 double precision,
    n numeric, n2 numeric(10, 3), m money, t text, v varchar(20), c char(5), inner_char "char", na name, by bytea,
    d date, ti time, titz time with time zone, ts timestamp, tstz timestamptz(3), iv interval, u uuid,
    j json, jb jsonb, jp jsonpath, ip inet, net cidr, mac macaddr, mac8 macaddr8, bits bit(5), vbits bit varying,
    tsv tsvector, tsq tsquery, po point, li line, ls lseg, bo box, pa path, pg polygon, ci circle,
    ir int4range, tr tstzrange, nmr nummultirange, sp shop.span, sps shop.spans, mo shop.mood, em shop.work_email,
    ad shop.address, pe shop.person, ka shop.known_address, la shop.label, lsn pg_lsn, x8 xid8, o oid,
    rt regtype, rc regclass, sn pg_snapshot,
    ia integer[], ta text[], aa shop.address[], ma shop.mood[], ea shop.email[], ra int4range[], deep integer[]
);
INSERT INTO shop.values_of_all_types VALUES
    (1, true, -32768, -2147483648, -9223372036854775808, 'NaN', 'NaN', 'NaN', 0.001, -92233720368547758.08, '', '',
     '', '', '', '', 'infinity', '24:00', '00:00+15:59', 'infinity', '-infinity', '-1 year -2 mons +3 days -04:05:06.7',
     '00000000-0000-0000-0000-000000000000', '{"a": 1, "a": [2]}', '{"a": 1e400, "é": "\u00fc\\"}', '$.a[*] ? (@ > 1)',
     '::1/64', '10.0.0.0/8', '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05', '10101', '', '', '', '(NaN,Infinity)',
     '{1,2,3}', '[(0,0),(1,1)]', '(1,1),(0,0)', '[(0,0),(1,2)]', '((0,0),(1,1),(1,0))', '<(0,0),1>', 'empty', '(,)',
     '{}', '[1.5,2.5)', '{[1,2),(3,4]}', '', 'me@work', ROW('a "b" \ c,', 1, '(1,2)', '{NULL,"NULL",""}'),
     ROW('n', ROW('s', NULL, NULL, NULL), ARRAY[ROW('x', 2, '(0,0)', '{}')::shop.address, NULL], 'a@b'),
     ROW('s', 1, NULL, NULL), 'a label', '16/B374D848', '18446744073709551615', 4294967295, 'integer', 'pg_class',
     '10:20:10,14,15', '{}', '{"a,b","c\"d","e\\f",NULL,"NULL","{}"," "}', ARRAY[ROW(NULL, 1, NULL, '{a}')::shop.address],
     '{sad,"it''s \"great\"",""}', '{x@y}', '{empty,"[1,5)"}', '[2:3][-1:0]={{1,2},{3,NULL}}');
INSERT INTO shop.values_of_all_types VALUES
    (2, false, 32767, 2147483647, 9223372036854775807, 'Infinity', '-Infinity', '-Infinity', -9999999.999,
     92233720368547758.07, E'tab\t line\n return\r back\\slash \\N \\. \b\f\v', 'varchar', 'pad', 'x', 'name',
     decode('00ff5c0a0d09', 'hex'), '4713-01-01 BC', '23:59:59.999999', '12:00-15:59', '294276-12-31 23:59:59.999999',
     '4714-11-24 00:00:00+00 BC', '178000000 years', 'ffffffff-ffff-ffff-ffff-ffffffffffff', 'null', 'null', 'strict $',
     '255.255.255.255', '2001:db8::/32', 'ff:ff:ff:ff:ff:ff', 'ff:ff:ff:ff:ff:ff:ff:ff', '00000', '1',
     'a:1A b:2B ''c d'':3', '!a & (b | c:*)', '(-0,0)', '[(0,0),(0,1)]', '[(0,0),(0,0)]', '(0,0),(0,0)', '((0,0),(1,2))',
     '((0,0))', '<(1e300,-1e-300),0>', '[1,10)', '["2020-01-01 00:00+00",infinity)', '{(,1),[2,3],(4,)}', 'empty', '{}',
     'ünïcode', 'ü@work', NULL, NULL, NULL, 'é', '0/0', '3', 0, 'shop.mood[]', 'shop.used', '1:1:', '{1,NULL,-3}', '{}',
     '{}', '{}', NULL, '{}', '{}');
INSERT INTO shop.values_of_all_types VALUES
    (3, NULL, 0, 0, 0, '-0', '-0', '1e-16383', NULL, 0, '表😀', NULL, 'ä', '\', NULL, '\x5c2e', '0001-01-01', '00:00', NULL,
     '0001-01-01 00:00 BC', '1969-12-31 23:59:59.999+00', '0', NULL, '[]', '{}', '$', '0.0.0.0/0', '::/0', NULL, NULL, NULL, NULL);
INSERT INTO shop.values_of_all_types (id) VALUES (4);
INSERT INTO shop.values_of_all_types (id, f4, f8, n, t, by) VALUES
    (5, 1e-45, 5e-324, repeat('9', 1000)::numeric, E'\\.\n\\.', (SELECT string_agg(set_byte('\x00', 0, n), '') FROM generate_series(0, 255) n)),
    (6, 3.4028235e38, 1.7976931348623157e308, 0.1::numeric(1000, 900), repeat('long ', 200000), NULL),
    (7, 0.1, 0.1 + 0.2::double precision, -1e131071, NULL, decode(repeat('0123456789abcdef', 40000), 'hex'));
DO $$
BEGIN
    EXECUTE $ddl$ CREATE TABLE shop.xml_documents (id integer, content xml) $ddl$;
    EXECUTE $ddl$ INSERT INTO shop.xml_documents VALUES (1, '<a b="c">&lt;é</a>'), (2, 'text only'), (3, NULL) $ddl$;
EXCEPTION WHEN feature_not_supported THEN DROP TABLE IF EXISTS shop.xml_documents;
END $$;

-- Tables of a shop: keys, checks, generated and identity columns, storage options, dropped columns.
CREATE TABLE shop.customers (
    id bigint GENERATED ALWAYS AS IDENTITY (START 100 INCREMENT 5) PRIMARY KEY,
    number integer GENERATED BY DEFAULT AS IDENTITY UNIQUE,
    code serial,
    gone text,
    name text NOT NULL CONSTRAINT "name is ""good""" CHECK (name <> ''),
    mail shop.email,
    mood shop.mood DEFAULT 'ok',
    discount shop.percentage DEFAULT 0,
    referrer bigint REFERENCES shop.customers ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED,
    shout text GENERATED ALWAYS AS (upper(name) || '!') STORED,
    search tsvector GENERATED ALWAYS AS (to_tsvector('pg_catalog.english', name)) STORED,
    created timestamptz DEFAULT '2024-02-29 12:00+00'
) WITH (fillfactor = 70, autovacuum_enabled = false, toast.autovacuum_enabled = false);
INSERT INTO shop.customers (name, mail, mood, referrer)
    SELECT 'customer ' || n, n || '@example.org', (enum_range(NULL::shop.mood))[1 + n % 6], nullif(100 + 5 * (n - 1), 100)
    FROM generate_series(1, 500) n;
ALTER TABLE shop.customers DROP COLUMN gone;
ALTER TABLE shop.customers ADD COLUMN added integer NOT NULL DEFAULT 42;
ALTER TABLE shop.customers ALTER COLUMN name SET STATISTICS 500;
ALTER TABLE shop.customers ALTER COLUMN name SET STORAGE EXTERNAL;
ALTER TABLE shop.customers ALTER COLUMN mail SET COMPRESSION pglz;
ALTER TABLE shop.customers ALTER COLUMN mood SET (n_distinct = 6);
ALTER TABLE shop.customers OWNER TO shop_owner;
CREATE TABLE shop.orders (
    id uuid DEFAULT gen_random_uuid(), customer bigint NOT NULL, placed date NOT NULL, period daterange,
    cents bigint NOT NULL CHECK (cents >= 0) NO INHERIT, remark text, data jsonb, tags text[], first_item integer,
    CONSTRAINT orders_pkey PRIMARY KEY (id) INCLUDE (cents) WITH (fillfactor = 80) DEFERRABLE,
    CONSTRAINT once UNIQUE NULLS NOT DISTINCT (customer, remark) DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT no_overlap EXCLUDE USING gist (period WITH &&) WHERE (period IS NOT NULL) DEFERRABLE
);
CREATE TABLE shop.items (id integer PRIMARY KEY, title text, sibling integer, first_order uuid);
INSERT INTO shop.items SELECT n, 'item ' || n FROM generate_series(1, 50) n;
INSERT INTO shop.orders SELECT md5(n::text)::uuid, 100 + 5 * (n % 500), '2024-01-01'::date + n % 400,
    CASE WHEN n % 100 = 0 THEN daterange('2024-01-01'::date + n, '2024-01-01'::date + n + 50) END,
    n * 7, 'remark ' || n, jsonb_build_object('n', n, 'list', jsonb_build_array(n, n / 2.0, 'é')), ARRAY['t' || n % 7, 'all'],
    1 + n % 50
    FROM generate_series(1, 1000) n;
UPDATE shop.items SET first_order = md5(id::text)::uuid, sibling = 1 + id % 50;
ALTER TABLE shop.orders ADD CONSTRAINT customer FOREIGN KEY (customer) REFERENCES shop.customers
    ON UPDATE CASCADE ON DELETE RESTRICT NOT DEFERRABLE;
ALTER TABLE shop.orders ADD CONSTRAINT first_item FOREIGN KEY (first_item) REFERENCES shop.items
    DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE shop.items ADD CONSTRAINT sibling FOREIGN KEY (sibling) REFERENCES shop.items MATCH FULL;
ALTER TABLE shop.items ADD COLUMN dangling integer DEFAULT -1;
ALTER TABLE shop.items ADD CONSTRAINT never_checked FOREIGN KEY (dangling) REFERENCES shop.items NOT VALID;
ALTER TABLE shop.items ADD CONSTRAINT new_rows_only CHECK (dangling > 0) NOT VALID;
-- A foreign key needs a key that is not deferrable, and each of the two tables refers to the other.
CREATE UNIQUE INDEX orders_id ON shop.orders (id);
ALTER TABLE shop.items ADD CONSTRAINT first_order FOREIGN KEY (first_order) REFERENCES shop.orders (id)
    DEFERRABLE INITIALLY IMMEDIATE;

-- Indexes of every method.
CREATE INDEX placed ON shop.orders (placed DESC NULLS LAST, customer) WHERE cents > 100;
CREATE INDEX folded ON shop.orders (lower(remark) text_pattern_ops, (cents % 10)) WITH (deduplicate_items = off);
CREATE INDEX data_gin ON shop.orders USING gin (data jsonb_path_ops) WITH (fastupdate = off);
CREATE INDEX tags_gin ON shop.orders USING gin (tags);
CREATE INDEX placed_brin ON shop.orders USING brin (placed date_minmax_multi_ops) WITH (pages_per_range = 4);
CREATE INDEX customer_hash ON shop.orders USING hash (customer);
CREATE INDEX search_gin ON shop.customers USING gin (search);
CREATE INDEX search_gist ON shop.customers USING gist (search tsvector_ops (siglen = 100));
CREATE INDEX title_spgist ON shop.items USING spgist (title);
CREATE INDEX backwards ON shop.items (id shop.backwards) INCLUDE (title);
CREATE INDEX collated ON shop.items (title COLLATE "C");
CREATE UNIQUE INDEX identity ON shop.items (id);
ALTER TABLE shop.items REPLICA IDENTITY USING INDEX identity;
ALTER TABLE shop.orders REPLICA IDENTITY FULL;
CREATE INDEX placed_order ON shop.orders (placed);
ALTER TABLE shop.orders CLUSTER ON placed_order;
ALTER INDEX shop.folded ALTER COLUMN 2 SET STATISTICS 300;
COMMENT ON INDEX shop.placed IS 'by date';
COMMENT ON CONSTRAINT customer ON shop.orders IS 'who pays';

-- Statistics objects.
CREATE STATISTICS shop.both_kinds (ndistinct, dependencies, mcv) ON customer, placed FROM shop.orders;
CREATE STATISTICS shop.of_expressions ON (cents % 10), (lower(remark)) FROM shop.orders;
ALTER STATISTICS shop.both_kinds SET STATISTICS 400;
COMMENT ON STATISTICS shop.both_kinds IS 'related';

-- Partitions: range over list over hash, with defaults, attached and detached, of different shape.
CREATE TABLE shop.sales (
    day date NOT NULL, region text, id bigint NOT NULL, amount numeric(12, 2),
    doubled numeric GENERATED ALWAYS AS (amount * 2) STORED
) PARTITION BY RANGE (day);
CREATE TABLE shop.sales_2023 PARTITION OF shop.sales FOR VALUES FROM (MINVALUE) TO ('2024-01-01')
    PARTITION BY LIST (region);
CREATE TABLE shop.sales_2023_north PARTITION OF shop.sales_2023 FOR VALUES IN ('north', 'no"rth', NULL);
CREATE TABLE shop.sales_2023_rest PARTITION OF shop.sales_2023 DEFAULT PARTITION BY HASH (id);
CREATE TABLE shop.sales_2023_rest_0 PARTITION OF shop.sales_2023_rest FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE shop.sales_2023_rest_1 PARTITION OF shop.sales_2023_rest FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE shop.sales_2024 (dropped text, region text, day date NOT NULL, amount numeric(12, 2), id bigint NOT NULL,
    doubled numeric GENERATED ALWAYS AS (amount * 2) STORED);
ALTER TABLE shop.sales_2024 DROP COLUMN dropped;
ALTER TABLE shop.sales ATTACH PARTITION shop.sales_2024 FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE shop.sales_else PARTITION OF shop.sales (amount DEFAULT 1) DEFAULT WITH (fillfactor = 50);
CREATE TABLE shop.sales_nobody PARTITION OF shop.sales FOR VALUES FROM ('2030-01-01') TO (MAXVALUE) PARTITION BY RANGE (id);
CREATE UNIQUE INDEX sales_key ON shop.sales (day, id, region);
CREATE INDEX amounts ON shop.sales (amount) WHERE amount > 10;
CREATE INDEX attached_later ON ONLY shop.sales (region);
INSERT INTO shop.sales (day, region, id, amount)
    SELECT '2023-06-01'::date + n, (ARRAY['north', 'south', 'no"rth', NULL])[1 + n % 4], n, n / 3.0
    FROM generate_series(1, 1000) n;
-- The hash of an enum's value changes with its oid: such rows are in another partition after a restore.
CREATE TABLE shop.moods (mood shop.mood, note text) PARTITION BY HASH (mood);
CREATE TABLE shop.moods_0 PARTITION OF shop.moods FOR VALUES WITH (MODULUS 3, REMAINDER 0);
CREATE TABLE shop.moods_1 PARTITION OF shop.moods FOR VALUES WITH (MODULUS 3, REMAINDER 1);
CREATE TABLE shop.moods_2 PARTITION OF shop.moods FOR VALUES WITH (MODULUS 3, REMAINDER 2);
INSERT INTO shop.moods SELECT (enum_range(NULL::shop.mood))[1 + n % 6], 'note ' || n FROM generate_series(1, 60) n;
CREATE TABLE shop.ledger (id integer, year integer, booked date DEFAULT '2024-01-01', PRIMARY KEY (id, year))
    PARTITION BY LIST (year);
CREATE TABLE shop.ledger_2024 PARTITION OF shop.ledger FOR VALUES IN (2024);
CREATE TABLE shop.ledger_lines (ledger integer, year integer, line text,
    FOREIGN KEY (ledger, year) REFERENCES shop.ledger);
INSERT INTO shop.ledger VALUES (1, 2024), (2, 2024);
INSERT INTO shop.ledger_lines VALUES (1, 2024, 'a'), (2, 2024, NULL);

-- Inheritance.
CREATE TABLE shop.things (id integer NOT NULL, name text DEFAULT 'thing', CHECK (id > 0));
CREATE TABLE shop.valuables (value money, CONSTRAINT own CHECK (value > 0::money) NO INHERIT);
CREATE TABLE shop.jewels (carat real, name text DEFAULT 'jewel') INHERITS (shop.things, shop.valuables);
CREATE TABLE shop.rings (size integer) INHERITS (shop.jewels);
INSERT INTO shop.things VALUES (1, DEFAULT), (2, 'two');
INSERT INTO shop.jewels VALUES (3, 'ruby', 3.50, 1.5), (4, DEFAULT, 9, 'NaN');
INSERT INTO shop.rings VALUES (5, 'ring', 100, 0.5, 17);

-- Odd tables.
CREATE TABLE shop.no_columns ();
INSERT INTO shop.no_columns DEFAULT VALUES;
INSERT INTO shop.no_columns DEFAULT VALUES;
CREATE TABLE shop.empty_table (id integer PRIMARY KEY, note text);
CREATE TABLE shop.only_generated (id integer GENERATED ALWAYS AS (1 + 1) STORED);
INSERT INTO shop.only_generated DEFAULT VALUES;
CREATE UNLOGGED TABLE shop.cache (key text PRIMARY KEY, value bytea);
INSERT INTO shop.cache VALUES ('k', '\x00ff');
CREATE TABLE shop.of_type OF shop.address (PRIMARY KEY (street), number WITH OPTIONS DEFAULT 7);
INSERT INTO shop.of_type VALUES ('Main Street', 1, '(1,2)', '{a,b}');
CREATE TABLE shop.other_heap (id integer) USING second_heap;
INSERT INTO shop.other_heap SELECT generate_series(1, 10);
CREATE TABLE public.in_public (id serial PRIMARY KEY, note text);
INSERT INTO public.in_public (note) VALUES ('first'), ('second');
CREATE TABLE "odd ""schema""
with a line feed"."odd ""table"" 'with'
a line feed,	a tab, a \ and ünïcode 表" ("odd ""column""
with a line feed" text, "select" integer, "from	tab" text, "Upper" text, "%s $1" text DEFAULT '%s', " " integer PRIMARY KEY);
INSERT INTO "odd ""schema""
with a line feed"."odd ""table"" 'with'
a line feed,	a tab, a \ and ünïcode 表" VALUES (E'a\nb', 1, E'\t', 'U', DEFAULT, 1), (NULL, NULL, '', '', '\', 2);
CREATE TABLE shop."select" ("table" integer, "order" integer, CONSTRAINT "check" CHECK ("table" > 0));
INSERT INTO shop."select" VALUES (1, 2);
CREATE TABLE shop.name_of_sixty_three_bytes_which_is_as_long_as_a_name_may_become (id integer,
    column_of_sixty_three_bytes_which_is_as_long_as_a_name_may_beco text);
CREATE INDEX index_of_sixty_three_bytes_which_is_as_long_as_a_name_may_becom
    ON shop.name_of_sixty_three_bytes_which_is_as_long_as_a_name_may_become (id);
CREATE TABLE shop."täßle_öf_ünïcödé_nämes_üp_tö_thé_löngést" (id integer);
CREATE TABLE shop."-- DROP TABLE shop.items; /*" (id integer);
INSERT INTO shop."-- DROP TABLE shop.items; /*" VALUES (1);
DO $$
BEGIN
    EXECUTE 'CREATE TABLE shop.wide (' || (SELECT string_agg('c' || n || ' integer DEFAULT ' || n, ', ') FROM generate_series(1, 400) n) || ')';
    INSERT INTO shop.wide DEFAULT VALUES;
END $$;

-- Views, rules, materialized views.
CREATE VIEW shop.good_orders WITH (security_barrier, check_option = local) AS
    SELECT id, customer, cents FROM shop.orders WHERE cents > 500;
CREATE VIEW shop.best_orders AS SELECT * FROM shop.good_orders WHERE cents > 5000 WITH CASCADED CHECK OPTION;
ALTER VIEW shop.best_orders ALTER COLUMN cents SET DEFAULT 6000;
CREATE VIEW shop."view of
views" WITH (security_invoker = true) AS
    SELECT c.name, count(b.*) AS "how many", shop.total(b.cents) AS total FROM shop.customers c LEFT JOIN shop.best_orders b ON b.customer = c.id
    GROUP BY c.id;
CREATE RECURSIVE VIEW shop.referrers (id, depth) AS
    SELECT id, 0 FROM shop.customers WHERE referrer IS NULL
    UNION ALL SELECT c.id, r.depth + 1 FROM shop.customers c JOIN referrers r ON c.referrer = r.id WHERE r.depth < 50;
CREATE MATERIALIZED VIEW shop.by_customer AS SELECT customer, sum(cents) AS cents FROM shop.orders GROUP BY customer;
CREATE UNIQUE INDEX by_customer_key ON shop.by_customer (customer);
CREATE MATERIALIZED VIEW shop.by_sum WITH (fillfactor = 60) AS SELECT cents % 100 AS bucket, count(*) FROM shop.by_customer GROUP BY 1;
CREATE MATERIALIZED VIEW shop.not_populated AS SELECT * FROM shop.by_sum WITH NO DATA;
CREATE VIEW shop.of_materialized AS SELECT * FROM shop.by_sum WHERE count > 1;
CREATE RULE no_more AS ON INSERT TO shop.empty_table WHERE new.id < 0 DO INSTEAD NOTHING;
CREATE RULE also AS ON DELETE TO shop.items DO ALSO NOTIFY item_deleted;
CREATE RULE to_items AS ON INSERT TO shop.of_materialized DO INSTEAD
    INSERT INTO shop.items (id, title) VALUES (new.bucket, new.count::text);
ALTER TABLE shop.items DISABLE RULE also;
COMMENT ON VIEW shop.good_orders IS 'worth it';
COMMENT ON COLUMN shop.good_orders.cents IS 'of a view';
COMMENT ON MATERIALIZED VIEW shop.by_sum IS 'refreshed';
COMMENT ON RULE also ON shop.items IS 'a rule';

-- Triggers and event triggers. Those that fire while a restore loads data would change it.
CREATE FUNCTION shop.on_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF tg_op = 'INSERT' AND tg_argv[0] = 'mark' THEN
        new.note := coalesce(new.note, '') || ' (marked)';
    END IF;
    RETURN coalesce(new, old);
END $$;
CREATE TRIGGER marks BEFORE INSERT OR UPDATE OF note ON public.in_public FOR EACH ROW
    WHEN (new.note IS DISTINCT FROM 'quiet') EXECUTE FUNCTION shop.on_change('mark', 'it''s', E'a\nb');
CREATE TRIGGER is_disabled BEFORE DELETE ON shop.items FOR EACH ROW EXECUTE FUNCTION shop.on_change();
ALTER TABLE shop.items DISABLE TRIGGER is_disabled;
CREATE TRIGGER on_replica AFTER UPDATE ON shop.items FOR EACH STATEMENT EXECUTE FUNCTION shop.on_change();
ALTER TABLE shop.items ENABLE REPLICA TRIGGER on_replica;
CREATE TRIGGER always AFTER TRUNCATE ON shop.items EXECUTE FUNCTION shop.on_change();
ALTER TABLE shop.items ENABLE ALWAYS TRIGGER always;
CREATE CONSTRAINT TRIGGER at_the_end AFTER INSERT OR UPDATE ON shop.orders FROM shop.customers
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION shop.on_change();
CREATE TRIGGER with_tables AFTER UPDATE ON shop.orders REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION shop.on_change();
CREATE TRIGGER of_all_partitions AFTER INSERT ON shop.sales FOR EACH ROW EXECUTE FUNCTION shop.on_change();
ALTER TABLE shop.sales_2024 DISABLE TRIGGER of_all_partitions;
CREATE TRIGGER instead INSTEAD OF UPDATE ON shop."view of
views" FOR EACH ROW EXECUTE FUNCTION shop.on_change();
COMMENT ON TRIGGER marks ON public.in_public IS 'marks';
CREATE FUNCTION shop.on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM tg_event, tg_tag; END $$;
CREATE EVENT TRIGGER watch_ddl ON ddl_command_end WHEN TAG IN ('CREATE TABLE', 'DROP TABLE') EXECUTE FUNCTION shop.on_ddl();
CREATE EVENT TRIGGER watch_drops ON sql_drop EXECUTE FUNCTION shop.on_ddl();
ALTER EVENT TRIGGER watch_drops DISABLE;
COMMENT ON EVENT TRIGGER watch_ddl IS 'who did it';

-- Row level security.
CREATE TABLE shop.secrets (owner name DEFAULT current_user, secret text);
INSERT INTO shop.secrets VALUES ('shop_reader', 'r'), ('shop_clerk', 'c'), ('postgres', 'p');
ALTER TABLE shop.secrets OWNER TO shop_owner;
ALTER TABLE shop.secrets ENABLE ROW LEVEL SECURITY;
ALTER TABLE shop.secrets FORCE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON shop.secrets FOR SELECT TO shop_reader, shop_clerk USING (owner = current_user);
CREATE POLICY "no ""writes""" ON shop.secrets AS RESTRICTIVE FOR UPDATE USING (false) WITH CHECK (secret <> '');
CREATE TABLE shop.policy_off (id integer);
CREATE POLICY unused ON shop.policy_off;
COMMENT ON POLICY own_rows ON shop.secrets IS 'a policy';

-- Publications.
CREATE PUBLICATION of_all FOR ALL TABLES WITH (publish = 'insert, delete');
CREATE PUBLICATION of_some FOR TABLE shop.items WHERE (id > 10), shop.sales WITH (publish_via_partition_root = true);
CREATE PUBLICATION of_columns FOR TABLE shop.customers (id, name);
CREATE PUBLICATION of_schema FOR TABLES IN SCHEMA public;
CREATE PUBLICATION "of nothing";
COMMENT ON PUBLICATION of_some IS 'some';

-- Foreign data: a wrapper without a handler holds names only.
CREATE FOREIGN DATA WRAPPER hollow OPTIONS (debug 'true', "odd ""option""" 'it''s');
CREATE SERVER elsewhere TYPE 'none' VERSION '1' FOREIGN DATA WRAPPER hollow OPTIONS (host 'localhost');
CREATE USER MAPPING FOR shop_reader SERVER elsewhere OPTIONS (user 'u', password 'not really secret');
CREATE USER MAPPING FOR PUBLIC SERVER elsewhere;
CREATE FOREIGN TABLE shop.far_away (id integer OPTIONS (key 'true') NOT NULL, note text DEFAULT 'x', CHECK (id > 0))
    SERVER elsewhere OPTIONS (remote 'table');
GRANT USAGE ON FOREIGN DATA WRAPPER hollow TO shop_clerk;
GRANT USAGE ON FOREIGN SERVER elsewhere TO shop_reader;
COMMENT ON FOREIGN TABLE shop.far_away IS 'far';
COMMENT ON SERVER elsewhere IS 'a server';

-- Extensions that this build has, each in use.
DO $$
DECLARE
    uses constant text[] := ARRAY[
        ['hstore', 'CREATE TABLE shop.pairs (id integer, pairs public.hstore); INSERT INTO shop.pairs VALUES (1, ''a=>1, "b c"=>NULL''::public.hstore); CREATE INDEX ON shop.pairs USING gin (pairs)'],
        ['citext', 'CREATE TABLE shop.cases (name public.citext UNIQUE); INSERT INTO shop.cases VALUES (''Ab''), (''ac'')'],
        ['pg_trgm', 'CREATE INDEX trigrams ON shop.items USING gin (title public.gin_trgm_ops)'],
        ['btree_gist', 'CREATE TABLE shop.rooms (room integer, during tsrange, EXCLUDE USING gist (room WITH =, during WITH &&))'],
        ['vector', 'CREATE TABLE shop.vectors (v public.vector(3)); INSERT INTO shop.vectors VALUES (''[1,2,3]''), (NULL)'],
        ['postgres_fdw', 'CREATE SERVER self FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host ''127.0.0.1'', port ''1'', dbname ''none'');
            CREATE FOREIGN TABLE shop.never_there (id integer) SERVER self'],
        ['file_fdw', 'CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
            CREATE FOREIGN TABLE shop.no_file (line text) SERVER files OPTIONS (filename ''/nonexistent'', format ''text'')']
    ];
    use text[];
BEGIN
    FOREACH use SLICE 1 IN ARRAY uses LOOP
        IF EXISTS (SELECT FROM pg_available_extensions WHERE name = use[1]) THEN
            EXECUTE format('CREATE EXTENSION %I SCHEMA public', use[1]);
            EXECUTE use[2];
        END IF;
    END LOOP;
    COMMENT ON EXTENSION plpgsql IS 'the language';
END $$;

-- What only a newer major knows.
DO $$
BEGIN
    IF current_setting('server_version_num')::integer >= 180000 THEN
        EXECUTE 'CREATE TABLE shop.of_major_18 (id integer CONSTRAINT there NOT NULL,
            twice integer GENERATED ALWAYS AS (id * 2) VIRTUAL, rooms int4range, during daterange,
            CONSTRAINT not_enforced CHECK (id > 100) NOT ENFORCED, CONSTRAINT temporal UNIQUE (rooms, during WITHOUT OVERLAPS))';
    END IF;
END $$;

-- Large objects: an empty one, one of several pages, one with an owner, a comment and a grant.
SELECT lo_create(4711);
SELECT lo_from_bytea(4712, decode(repeat('00ff10', 50000), 'hex'));
SELECT lo_from_bytea(4713, 'small');
SELECT lo_from_bytea(5000 + n, convert_to('object ' || n, 'UTF8')) FROM generate_series(1, 20) n;
ALTER LARGE OBJECT 4713 OWNER TO shop_owner;
COMMENT ON LARGE OBJECT 4713 IS 'a ''large'' object';
GRANT SELECT ON LARGE OBJECT 4712 TO shop_reader;
CREATE TABLE shop.attachments (name text, content oid);
INSERT INTO shop.attachments VALUES ('big', 4712), ('small', 4713);

-- Grants on what is there, and on what will be.
GRANT SELECT, INSERT ON shop.orders TO shop_reader WITH GRANT OPTION;
GRANT SELECT (id, name), UPDATE (name) ON shop.customers TO shop_clerk;
GRANT ALL ON shop.items TO "odd ""role"" of José";
GRANT SELECT ON shop.good_orders, shop.by_sum TO PUBLIC;
REVOKE ALL ON shop.items FROM postgres;
ALTER DEFAULT PRIVILEGES IN SCHEMA shop GRANT SELECT ON TABLES TO shop_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE shop_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE shop_owner GRANT USAGE ON SCHEMAS TO shop_clerk;
COMMENT ON TABLE shop.orders IS 'orders; -- "quoted" ''comment''';
COMMENT ON COLUMN shop.orders.cents IS 'in cents
not euros';
COMMENT ON SEQUENCE shop.used IS '';

ANALYZE;
