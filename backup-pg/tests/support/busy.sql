-- A bank and a shop that stay consistent with themselves at every commit, and what works in them.
SET client_min_messages = warning;
CREATE SCHEMA busy;
CREATE TABLE busy.accounts (id integer PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0), note text);
INSERT INTO busy.accounts SELECT n, 1000, 'account ' || n FROM generate_series(1, 200) n;
CREATE TABLE busy.transfers (id bigserial PRIMARY KEY, source integer NOT NULL REFERENCES busy.accounts,
    target integer NOT NULL REFERENCES busy.accounts, cents bigint NOT NULL, note text);
CREATE TABLE busy.shops (id integer PRIMARY KEY, orders bigint NOT NULL, cents bigint NOT NULL);
INSERT INTO busy.shops SELECT n, 0, 0 FROM generate_series(1, 5) n;
CREATE TABLE busy.orders (shop integer REFERENCES busy.shops, number bigint, cents bigint NOT NULL, note text,
    PRIMARY KEY (shop, number));
-- What is on the board belongs together: ten rows of one generation, replaced as a whole.
CREATE TABLE busy.board (generation bigint, place integer);
INSERT INTO busy.board SELECT 0, n FROM generate_series(1, 10) n;

-- One transaction: a transfer, an order, now and then a deletion.
CREATE PROCEDURE busy.work() LANGUAGE plpgsql AS $$
DECLARE
    giver integer := 1 + floor(random() * 200);
    taker integer := 1 + floor(random() * 200);
    amount bigint := 1 + floor(random() * 50);
    chosen integer := 1 + floor(random() * 5);
    number bigint;
BEGIN
    -- In the order of their ids, against deadlocks.
    PERFORM FROM busy.accounts WHERE id IN (giver, taker) ORDER BY id FOR UPDATE;
    UPDATE busy.accounts SET balance = balance - amount WHERE id = giver AND balance >= amount;
    IF FOUND THEN
        UPDATE busy.accounts SET balance = balance + amount WHERE id = taker;
        INSERT INTO busy.transfers (source, target, cents, note) VALUES (giver, taker, amount, repeat('note ', giver % 60));
    END IF;
    UPDATE busy.shops SET orders = orders + 1, cents = cents + amount WHERE id = chosen RETURNING orders INTO number;
    INSERT INTO busy.orders VALUES (chosen, number, amount, 'order ' || number);
    IF random() < 0.2 THEN
        DELETE FROM busy.transfers WHERE id IN (SELECT id FROM busy.transfers ORDER BY id LIMIT 3 FOR UPDATE SKIP LOCKED);
    END IF;
END $$;

-- One transaction that truncates, unless somebody reads the board: it does not wait for a dump to end.
CREATE PROCEDURE busy.wipe() LANGUAGE plpgsql AS $$
DECLARE
    next bigint;
BEGIN
    SET LOCAL lock_timeout = '20ms';
    SELECT 1 + coalesce(max(generation), 0) INTO next FROM busy.board;
    TRUNCATE busy.board;
    INSERT INTO busy.board SELECT next, n FROM generate_series(1, 10) n;
EXCEPTION WHEN lock_not_available THEN NULL;
END $$;
