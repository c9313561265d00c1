-- Enough rows to be loaded in COPY's binary format, with the ends of every type's range among them; in their middle dates
-- before Christ, which are sent as text.
CREATE TYPE mood AS ENUM ('fine', 'so, so', E'tab\there');
CREATE DOMAIN quantity AS numeric(20, 4) CHECK (value > -1e9);
CREATE TABLE kinds (
    id bigint, small smallint, plain integer, object oid, is_so boolean, single real, double double precision,
    exact numeric, scaled numeric(30, 10), amount quantity, words text, short varchar(40), padded character(9),
    feeling mood, bytes bytea, document json, parsed jsonb, day date, clock time, moment timestamp,
    instant timestamptz, key uuid);
INSERT INTO kinds SELECT
    i * 3074457345618258, i % 32767, i * 700001, (4294967295 - i)::bigint::oid, i % 3 = 0,
    i / 7.0, exp(i % 300) / 3, (i - 1500) * 1.0 / 3 * 10 ^ (i % 60 - 30), i / 7.0, i / 9.0,
    repeat(E'a\\b\tc\nd\re\x08\x0c\x0b ü ', i % 5), left(md5(i::text), i % 33), i::text,
    (enum_range(NULL::mood))[1 + i % 3], decode(md5(i::text), 'hex'),
    json_build_object('a', E'q\"\\\n', 'n', i), jsonb_build_object('a', E'q\"\\\n', 'n', i / 3.0),
    '2000-01-01'::date + i * 97 - 100000, '00:00'::time + i * interval '28.7654321 seconds',
    '2000-01-01'::timestamp + (i - 1500) * interval '97 days 1.000001 seconds',
    '2000-01-01'::timestamptz + (i - 1500) * interval '97 days 1.000001 seconds', md5(i::text)::uuid
  FROM generate_series(1, 3000) AS i;
UPDATE kinds SET day = '0044-03-15 BC', moment = '0044-03-15 12:00 BC' WHERE plain BETWEEN 1000000000 AND 1000700001;
INSERT INTO kinds (id, small, plain, single, double, exact, day, moment, instant, clock, words) VALUES
    (-9223372036854775808, -32768, -2147483648, 'NaN', '-Infinity', 'NaN', 'infinity', '-infinity', 'infinity', '24:00', ''),
    (0, 0, 0, '-0', 5e-324, 1e-300, '-infinity', 'infinity', '-infinity', '00:00', '\N'),
    (1, 1, 1, 3.4028235e38, 1.7976931348623157e308, -1e300, '5874897-12-31', '294276-12-31 23:59:59.999999',
     '294276-12-31 23:59:59.999999+00', '23:59:59.999999', E'\\N'),
    (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
