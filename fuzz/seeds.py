#!/usr/bin/env python3
"""Makes the seeds of the fuzz targets: one folder per target, a few small files each.

They are kept beside this script; run it again after a format has changed. Needs the command zstd.
"""

import gzip
import json
import pathlib
import sqlite3
import struct
import subprocess
import tempfile
import zlib

SEEDS = pathlib.Path(__file__).parent / "seeds"
SEEKABLE_MAGIC = 0x8F92EAB1
SKIPPABLE_MAGIC = 0x184D2A5E
# Numbers that a JSON reader which rounds carelessly does not give back as they were written.
SHARES = [0.9073038322028689, 6.934698245112694e276]


def main() -> None:
    for target, seeds in {
        "seek_table": payloads(),
        "manifest": manifests(),
        "id_and_selector": names(),
        "wal": logs(),
        "page": pages(),
        "payload_decode": choices(),
        "encrypted_payload": encrypted(),
        "pg_archive": archives(),
        "config": configurations(),
    }.items():
        folder = SEEDS / target
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        for name, seed in seeds.items():
            (folder / name).write_bytes(seed)


def zstd(plain: bytes) -> bytes:
    return subprocess.run(["zstd", "-q", "-c"], input=plain, check=True, capture_output=True).stdout


def seekable(frames: list[bytes], checksums: bool = True) -> bytes:
    stored = [zstd(frame) for frame in frames]
    entries = b"".join(
        struct.pack("<II", len(s), len(f)) + s[-4:] * checksums for s, f in zip(stored, frames, strict=True)
    )
    footer = struct.pack("<IBI", len(frames), 0x80 * checksums, SEEKABLE_MAGIC)
    return b"".join(stored) + struct.pack("<II", SKIPPABLE_MAGIC, len(entries + footer)) + entries + footer


def payloads() -> dict[str, bytes]:
    return {
        "two_frames": seekable([b"first " * 20, b"second " * 20]),
        "no_checksums": seekable([b"first " * 20], checksums=False),
        "empty": seekable([]),
        "no_table": zstd(b"no table"),
    }


def choices() -> dict[str, bytes]:
    """See fuzz_targets/payload_decode.rs: the first byte is limit (5 bits), no claim (1 bit), encoding (2 bits)."""
    limit = 10 << 3
    table = seekable([b"first " * 20, b"second " * 20])
    members = gzip.compress(b"one " * 20, mtime=0) + gzip.compress(b"two " * 20, mtime=0)
    return {
        "plain": bytes([limit]) + b"plain bytes",
        "gzip": bytes([limit | 1]) + members,
        "gzip_over_limit": bytes([1 << 3 | 1]) + members,
        "zstd": bytes([limit | 2]) + zstd(b"stream " * 20),
        "zstd_table": bytes([limit | 2]) + table,
        "zstd_zeros": bytes([31 << 3 | 2]) + zstd(bytes(1 << 22)),
        "zstd_without_claim": bytes([limit | 4 | 2]) + table,
        "zstd_made_table": bytes([limit | 3]) + table,
    }


def encrypted() -> dict[str, bytes]:
    """See fuzz_targets/encrypted_payload.rs: the first byte chooses; for damage, four more say where and how."""
    stanza = b"-> X25519 " + b"A" * 43 + b"\n" + b"A" * 43 + b"\n--- " + b"A" * 43 + b"\n" + bytes(40)
    key = b"AGE-SECRET-KEY-15TZRJRZ5S4HL74GTYPA93JN7HT7ST0NXQHUWJH7GYLW8NYYHRQNSAZJJJS"
    return {
        "keys": bytes([0]) + b"# created: 2026\n" + key + b"\n\n" + key.lower() + b"\n",
        "protected": bytes([0]) + b"age-encryption.org/v1\n-> scrypt AAAAAAAAAAAAAAAAAAAAAA 10\n" + stanza[54:],
        "armored": bytes([0]) + b"-----BEGIN AGE ENCRYPTED FILE-----\nYWdl\n-----END AGE ENCRYPTED FILE-----\n",
        "header": bytes([1]) + stanza,
        "flipped": bytes([2 | 20 << 3, 128, 0, 3, 0]) + b"plain",
        "cut": bytes([2 | 4 | 31 << 3, 240, 0, 0, 1]) + b"plain " * 50,
        "longer": bytes([3, 0, 15, 7, 2]) + b"plain",
    }


def manifests() -> dict[str, bytes]:
    stem = "shop-full-20261121T083000Z"
    time = "2026-11-21T08:30:00.25Z"
    small = {
        "format": 1,
        "id": stem,
        "source": {"name": "shop", "engine": "sqlite", "database": "/srv/shop.db"},
        "content": "full",
        "started_at": time,
        "snapshot_at": time,
        "finished_at": time,
        "payload": {
            "name": f"{stem}.db.zst",
            "bytes": 10,
            "blake3": "00",
            "encoding": ["zstd"],
            "plain_bytes": 20,
            "plain_blake3": "11",
        },
    }
    large = small | {
        "source": small["source"] | {"host": "h", "server_version": "3.54.1", "system_id": None},
        "tags": ["pre-migration", "hot"],
        "tables": [{"name": "customers", "rows": 6, "digest": "0" * 32}, {"name": '"a b"', "rows": 0}],
        "rows": 6,
        "high_water_rows": 18446744073709551615,
        "suspect": [{"rule": "ratchet", "found": "6 rows", "expected": "7"}],
        "requires": "shop-base-20261121T083000Z-2",
        "wal": {"start_lsn": "0/1000028", "stop_lsn": "0/1000100", "timeline": 1},
        "tools": {"backup": "0.1.0"},
        "options": {"level": 3, "ratio": 0.1, "nothing": None},
        "companions": [f"{stem}.globals.sql"],
        "schema_fingerprint": "ff",
        "facts": {"page_size": 4096, "shares": [1.5e-7, *SHARES], "deep": [{"b": 1, "a": [True]}]},
        "later": {"z": -1, "a": "\u00e9\n"},
    }
    return {name: json.dumps(text).encode() for name, text in {"small": small, "large": large}.items()}


def names() -> dict[str, bytes]:
    texts = {
        "id": "shop-full-20261121T083000Z",
        "id_twice": "my-shop-incremental-20261121T083000Z-12",
        "latest": "shop/latest:schema",
        "key": "shop/full/shop-full-20261121T083000Z.db.zst",
        "proof": "shop/proofs/a=b/20261121T083000Z.json",
        "compression": "zstd:19",
        "level": "structure",
        "other": "../\u00e9 \\x",
    }
    return {name: text.encode() for name, text in texts.items()}


def databases(mode: str) -> tuple[bytes, bytes]:
    """A small database and, in WAL mode, its log of three commits."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "shop.db"
        connection = sqlite3.connect(path, isolation_level=None)
        connection.executescript(f"PRAGMA page_size=512; PRAGMA journal_mode={mode}; CREATE TABLE t(a, b);")
        connection.executescript("CREATE INDEX i ON t(a); INSERT INTO t VALUES (1, 'x'), (2, 'y');")
        for count in (3, 2000) if mode == "DELETE" else (3,):
            connection.execute(
                "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n LIMIT ?) INSERT INTO t SELECT n, n FROM n",
                (count,),
            )
        log = path.with_name("shop.db-wal")
        made = path.read_bytes(), log.read_bytes() if log.exists() else b""
        connection.close()
        return made


def logs() -> dict[str, bytes]:
    log = databases("WAL")[1]
    return {"three_commits": log, "torn": log[:-100], "header_only": log[:32]}


def pages() -> dict[str, bytes]:
    database = databases("DELETE")[0]
    kinds = {}
    for at in range(512, len(database), 512):
        kinds.setdefault(database[at], database[at : at + 512])
    trees = {f"kind_{kind:02x}": page for kind, page in kinds.items() if kind in (0x02, 0x05, 0x0A, 0x0D)}
    return {"first": database[:512], **trees}


def archives() -> dict[str, bytes]:
    """See fuzz_targets/pg_archive.rs: the first byte is the size of the pieces; the rest is an archive."""
    # The frame that pg_dump begins, with the text as one block that is not compressed.
    frame = bytes.fromhex("04224d184040c0") + struct.pack("<I", 1 << 31 | len(COPY_TEXT)) + COPY_TEXT + bytes(4)
    whole = {
        "plain_14": archive(14, 0, COPY_TEXT),
        "gzip_14": archive(14, 6, zlib.compress(COPY_TEXT)),
        "gzip_15": archive(15, 1, zlib.compress(COPY_TEXT)),
        "lz4_16": archive(16, 2, frame),
        "zstd_16": archive(16, 3, zstd(COPY_TEXT)),
        "directory": archive(16, 0, COPY_TEXT, letter=5),
    }
    return {name: bytes([64]) + seed for name, seed in whole.items()}


def configurations() -> dict[str, bytes]:
    one = '[stores.local]\nurl = "/b"\n[jobs.app]\nsource = "sqlite:${A}.db"\n'
    full = one + """mirrors = []
schedule = "0 2 * * *"
timezone = "Europe/Berlin"
retention = { daily = 30, within = "7d", tags = { hot = "forever" }, max_bytes = "50GB" }
objectives = { rpo = "24h", proof = "31d" }
guardrails = { min_rows = 100, ratchet = 0.9 }
encrypt = { recipients = ["age1x"], identity = "key" }
timeout = "2h"
notify = "ops"
password = "file:/x"
[notify.ops]
email = { to = ["a@b"], smtp = "smtp://u:p@h" }
webhook = "https://x/y"
on = ["failure"]
"""
    broken = '[jobs.app]\nsource = "postgres://u:p@h/d?x=1\nretension = { daily = "x" }\n'
    return {name: text.encode() for name, text in {"one": one, "full": full, "broken": broken}.items()}


COPY_TEXT = b"1\tone\n2\t\\N\n3\t\\\\.\n\\.\n\n\n"


def archive(minor: int, compression: int, data: bytes, letter: int = 1) -> bytes:
    """A table and a large object, as pg_dump -Fc lays them out in format 1.`minor`."""

    def number(value: int) -> bytes:
        return bytes([value < 0]) + struct.pack("<I", abs(value))

    def string(text: str | None) -> bytes:
        return number(-1) if text is None else number(len(text.encode())) + text.encode()

    def entry(dump_id: int, desc: str, copy: str | None, dependency: int) -> bytes:
        has_data = copy is not None
        fields = number(dump_id) + number(has_data) + string("1259") + string("16384")
        fields += string('odd "t"') + string(desc) + number(3 if has_data else 2)
        for text in (None if has_data else "CREATE TABLE t ();", "", copy, "public", None):
            fields += string(text)
        fields += string("heap") * (minor >= 14) + number(ord("r")) * (minor >= 16)
        fields += string("postgres") + string("false") + string(str(dependency)) + string(None)
        if letter != 1:
            return fields + string(f"{dump_id}.dat" if has_data else "")
        return fields + bytes([1 if has_data else 3]) + bytes(8)

    header = b"PGDMP" + bytes([1, minor, 0, 4, 8, letter])
    header += bytes([compression]) if minor >= 15 else number(compression)
    header += b"".join(map(number, (0, 30, 8, 21, 10, 126, 0)))
    header += string("shop") + string("15.18") + string("15.18")
    entries = [entry(1, "TABLE", None, 2), entry(2, "TABLE DATA", "COPY t FROM stdin;\n", 1), entry(3, "BLOBS", "", 1)]
    chunks = b"".join(number(len(chunk)) + chunk for chunk in (data[:20], data[20:])) + number(0)
    blocks = bytes([1]) + number(2) + chunks + bytes([3]) + number(3) + number(4711) + chunks + number(0)
    return header + number(len(entries)) + b"".join(entries) + blocks * (letter == 1)


if __name__ == "__main__":
    main()
