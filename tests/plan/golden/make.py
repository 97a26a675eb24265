#!/usr/bin/env python3
"""Makes the golden files of this folder from the grammar in lib/plan/file_format.hpp: a second implementation of it, so that
the bytes that the tests expect do not come from the code that they test. Run once per version of the format; files of a
released version never change."""
import hashlib
import pathlib
import struct

PAGE = 64 * 1024


def checksum(data):
    return hashlib.sha256(data).digest()[:16]


def make_file(kind, disk, chunk, block, algorithm, flags, records, label, body):
    fixed = b"RPROTECT" + struct.pack("<IIQIIIIQQII", 1, kind, disk, chunk, block, algorithm, flags, records, len(body),
                                      len(label), 0)
    assert len(fixed) == 64
    sums = b"".join(checksum(body[at:at + PAGE]) for at in range(0, len(body), PAGE))
    head = fixed + label + sums
    return head + checksum(head) + body


def digest(number):
    return bytes((number + i) % 256 for i in range(16))


def run(first, chunks, blocks=()):
    return struct.pack("<QQ", first, len(chunks)) + b"".join(chunks) + b"".join(blocks)


def change(offset, length, kind, reason):
    return struct.pack("<QQBB6x", offset, length, kind, reason)


here = pathlib.Path(__file__).parent

# 8 chunks of 1 MiB and 5000 bytes; chunks 1 and 2, and the partial last one.
(here / "map-v1.bin").write_bytes(
    make_file(1, 8 * 2**20 + 5000, 2**20, 4096, 2, 0, 2, b"/dev/vdb, 2026-11-22T10:00:00Z",
              run(1, [digest(1), digest(2)]) + run(8, [digest(8)])))

# 4 chunks of 4 KiB and 700 bytes, in blocks of 2 KiB; chunk 0, and chunks 3 and 4 (the last of one partial block).
(here / "map-blocks-v1.bin").write_bytes(
    make_file(1, 4 * 4096 + 700, 4096, 2048, 2, 1, 2, b"",
              run(0, [digest(10)], [digest(100), digest(101)]) +
              run(3, [digest(13), digest(14)], [digest(130), digest(131), digest(140)])))

# A body of more than one page: 5000 chunks in one run.
(here / "map-pages-v1.bin").write_bytes(
    make_file(1, 6000 * 4096, 4096, 512, 2, 0, 1, b"pages", run(500, [digest(i % 251) for i in range(5000)])))

(here / "differential-v1.bin").write_bytes(
    make_file(2, 10 * 2**30 + 1, 0, 0, 0, 0, 3, b"",
              change(4096, 8192, 1, 1) + change(12288, 2**20, 2, 3) + change(10 * 2**30, 1, 1, 2)))
