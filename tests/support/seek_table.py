"""Reads a file in zstd's seekable format from its specification alone, and decodes each frame by itself.

Source: contrib/seekable_format/zstd_seekable_compression_format.md of facebook/zstd, version 0.1.0.
Usage: seek_table.py FILE. Prints "N frames, M bytes", or says what is wrong and exits 1.
"""

import struct
import subprocess
import sys

SKIPPABLE_MAGIC = 0x184D2A5E
FRAME_MAGIC = 0xFD2FB528
SEEKABLE_MAGIC = 0x8F92EAB1
FOOTER = struct.Struct("<IBI")
HEADER = struct.Struct("<II")


def require(condition, complaint):
    if not condition:
        sys.exit(complaint)


def read_entries(data):
    """The entries as (compressed size, decompressed size, checksum or None), and where the table begins."""
    count, descriptor, magic = FOOTER.unpack(data[-FOOTER.size :])
    require(magic == SEEKABLE_MAGIC, f"the footer's magic is {magic:#x}")
    require(descriptor & 0x7C == 0, f"reserved bits are set: {descriptor:#x}")
    entry = struct.Struct("<III" if descriptor & 0x80 else "<II")
    body = count * entry.size + FOOTER.size
    start = len(data) - body - HEADER.size
    require(start >= 0, f"{count} entries do not fit")
    magic, size = HEADER.unpack_from(data, start)
    require(magic == SKIPPABLE_MAGIC, f"the table's magic is {magic:#x}")
    require(size == body, f"the table says it has {size} bytes and has {body}")
    table = data[start + HEADER.size : len(data) - FOOTER.size]
    entries = [fields if len(fields) == 3 else (*fields, None) for fields in entry.iter_unpack(table)]
    return entries, start


def decode(compressed):
    return subprocess.run(["zstd", "-dcq"], input=compressed, stdout=subprocess.PIPE, check=True).stdout


def main(path):
    with open(path, "rb") as file:
        data = file.read()
    entries, table_start = read_entries(data)
    offset, parts = 0, []
    for number, (stored, plain, checksum) in enumerate(entries):
        frame = data[offset : offset + stored]
        require(struct.unpack_from("<I", frame)[0] == FRAME_MAGIC, f"no frame begins at {offset}")
        part = decode(frame)
        require(len(part) == plain, f"frame {number} has {len(part)} bytes where the table says {plain}")
        # zstd compared the content with the frame's own last four bytes, the low half of its XXH64.
        has_checksum = frame[4] & 0x04
        require(checksum is None or has_checksum, f"frame {number} carries no checksum to compare")
        carried = struct.unpack("<I", frame[-4:])[0]
        require(checksum in (None, carried), f"frame {number} has checksum {carried:#x}, not {checksum:#x}")
        parts.append(part)
        offset += stored
    require(offset == table_start, f"the frames end at {offset} and the table begins at {table_start}")
    whole = subprocess.run(["zstd", "-dcq", path], stdout=subprocess.PIPE, check=True).stdout
    require(b"".join(parts) == whole, "the frames together are not the whole")
    print(f"{len(parts)} frames, {len(whole)} bytes")


main(sys.argv[1])
