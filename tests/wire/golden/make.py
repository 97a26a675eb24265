#!/usr/bin/env python3
"""Makes the golden bytes of this folder from the grammar in lib/wire/frame.hpp: a second implementation of it, so that
the bytes that the tests expect do not come from the code that they test. Run once per version of the wire; files of a
released version never change. The values are those of tests/wire/frame_samples.hpp."""
import pathlib
import struct

from grammar import number


def numbers(*values):
    return b"".join(number(value) for value in values)


def text(value):
    return number(len(value)) + value


def frame(kind, payload):
    return struct.pack("<I", kind | len(payload) << 8) + payload


def count_up(first, length):
    return bytes((first + i) % 256 for i in range(length))


def digest(first):
    return count_up(first, 16)


def footing(kind, device, inode, name, offset, length, exact):
    return bytes([kind]) + numbers(device, inode) + text(name) + numbers(offset, length) + bytes([exact])


failure = (numbers(11) + text(b"read of /dev/vdb failed: Input/output error") + text(b"/dev/vdb") + text(b"read") +
           text(b"qemu (pid 7)") + text(b"look at the kernel's log") + bytes([3]) + numbers(2**40, 4096, 5))
source_counts = numbers(1, 200, 2**14, 2**21, 5, 2**64 - 1)
target_counts = numbers(7, 800, 9, 10, 2**35)

hello = (
    bytes([1]) + numbers(10 * 2**40 + 513, 2**20, 4096) + bytes([1, 0b10101101]) + count_up(100, 32) + text(b"/dev/vdb") +
    number(2) + text(b"kind") + text(b"block") + text(b"serial") + text(b"\xff\x00x") +
    text(b"0123456789abcdef0123456789abcdef") + text(b"") +
    number(2) +
    number(2) + footing(1, 64769, 12345, b"", 0, 2**62, 1) + footing(2, 2049, 0, b"", 2**20, 2**30, 0) +
    number(0) +
    number(1) + number(1) + footing(3, 0, 0, b"naa.5000c500", 0, 2**40, 1) +
    text(b"the target is blank") + numbers(4096, 300, 64, 48 * 2**20, 2**40) +
    numbers(45 * 10**9) + text(b"snapshot 7") + numbers(3 * 2**30))

raw = b"".join([bytes([value]) * 512 for value in (1, 2, 3)])
head = (number(2) + digest(20) + number(3) + numbers(1, 2 << 1 | 0, 0, 1 << 1 | 1, 3, 1 << 1 | 0) +
        number(3) + digest(30) + number(1) + numbers(0, 8 << 1 | 1))
batch = bytes([0]) + struct.pack("<I", len(raw))[:3] + struct.pack("<I", len(head))[:3] + head + raw

frames = [
    frame(1, text(b"disks/vm 7") + bytes([2, 3]) + numbers(512, 2**16) + bytes([2, 0b11010101]) + text(b"0.1.0") + bytes([4]) +
          number(2) + numbers(0, 4096, 8192, 2**40)),
    frame(2, bytes([0]) + failure),
    frame(2, bytes([1, 1])),
    frame(2, bytes([1, 16]) + count_up(9, 32)),
    frame(4, count_up(11, 32)),
    frame(3, count_up(7, 32)),
    frame(16, hello),
    frame(17, numbers(2**20, (2**16 - 1) << 2 | 0, (2**40 - 1) << 2 | 1, 0 << 2 | 2)),
    frame(18, numbers(300) + bytes([0]) + digest(1) + bytes([1, 2]) + numbers(2**45) + bytes([4]) + digest(2) +
          number(2) + count_up(50, 5) + count_up(60, 5)),
    frame(19, numbers(128)),
    frame(20, numbers(2**50) + count_up(1, 5) + count_up(2, 5) + count_up(3, 5)),
    frame(21, numbers(127, 128, 2**64 - 1)),
    frame(22, batch),
    frame(23, numbers(0)),
    frame(24, numbers(16383, 16384, 2**26, 1)),
    frame(25, numbers(77) + digest(3) + source_counts),
    frame(26, digest(4) + target_counts),
    frame(27, numbers(5, 2) + bytes([1]) + digest(5) + digest(6)),
    frame(27, numbers(7, 2**49) + bytes([0])),
    frame(28, bytes([1])),
    frame(29, failure),
    frame(48, b""),
    frame(49, bytes([1]) + source_counts + numbers(11, 12)),
    frame(49, bytes([2]) + target_counts + numbers(13, 2**63)),
    frame(50, b"the source was in use"),
    frame(51, numbers(512) + bytes([1 << 2 | 1]) + numbers(512) + numbers(0) + bytes([2 << 2 | 3]) + numbers(2**30) +
          numbers(4096) + bytes([1 << 2 | 2]) + numbers(100)),
    frame(52, numbers(1000000, 2**32) + text(b"mounted at /mnt")),
    frame(53, b"RPROTECT"),
    frame(54, numbers(2**33, 2**41, 60000000) + digest(8)),
    frame(64, count_up(60, 32) + numbers(64 * 2**20)),
    frame(65, count_up(90, 32) + numbers(10 * 2**40 + 513)),
    frame(66, b""),
    frame(67, bytes([1]) + numbers(1, 2, 0, 1, 996, 128)),
    frame(68, numbers(2 << 1 | 0) + digest(1) + digest(2) + numbers(3 << 1 | 1) + numbers(1 << 1 | 0) + digest(3)),
    frame(69, numbers(127, 128)),
    frame(70, numbers(0, 127, 300)),
    frame(71, numbers(2**20, 1000, 0, 4096, 4096, 7)),
    frame(72, b"filler"),
    frame(73, numbers(2**24)),
    frame(74, numbers(2**64 - 1)),
]

here = pathlib.Path(__file__).parent
(here / "preamble-v1.bin").write_bytes(b"reprotect/wire\r\n" + struct.pack("<HHB3x", 1, 0x0203, 3) + count_up(200, 32))
(here / "frames-v1.bin").write_bytes(b"".join(frames))
