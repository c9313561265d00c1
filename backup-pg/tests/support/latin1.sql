-- A database in LATIN1 with names and data beyond ASCII; the client speaks UTF8, the server converts.
SET client_encoding = 'UTF8';
CREATE SCHEMA "größe";
CREATE TYPE "größe".farbe AS ENUM ('weiß', 'grün');
CREATE TABLE "größe"."straßen" ("straße" text PRIMARY KEY, "länge" numeric DEFAULT 1, farbe "größe".farbe, bytes bytea,
    note text CONSTRAINT "keine ñ" CHECK (note <> 'ñ'));
INSERT INTO "größe"."straßen" VALUES
    ('Hauptstraße', 1.5, 'weiß', '\xe9ff00', 'ÀÿÆ¿½ ×÷'), ('Rue de l''Été', NULL, 'grün', '\xc3a9', E'tab\t\\ \n'), ('ÿ', 0, NULL, NULL, NULL);
INSERT INTO "größe"."straßen" SELECT 'Straße ' || n, n, 'grün', convert_to('é' || n, 'LATIN1'), 'für ' || n FROM generate_series(1, 500) n;
CREATE INDEX "index_über_länge" ON "größe"."straßen" ("länge") WHERE "straße" <> 'ß';
CREATE FUNCTION "größe"."fläche"(a numeric) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT a || '' m²''';
CREATE VIEW "größe"."übersicht" AS SELECT "straße", "größe"."fläche"("länge") AS "fläche" FROM "größe"."straßen";
COMMENT ON TABLE "größe"."straßen" IS 'alle Straßen';
SELECT lo_from_bytea(4714, '\xe4f6fc');
COMMENT ON LARGE OBJECT 4714 IS 'Übergröße';
