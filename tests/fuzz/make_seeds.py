#!/usr/bin/env python3
"""Makes the inputs that fuzzers begin with, where golden files or the grammar give them; run by hand when either
changes. What fuzzing found lies beside them, as found-*. Those of the two state machines are all found, since their
bytes are choices (machine_rig.hpp) and mean nothing by themselves."""
import hashlib
import pathlib
import sys

here = pathlib.Path(__file__).parent
seeds = here / "seeds"
tests = here.parent
sys.path.insert(0, str(tests / "wire/golden"))
from grammar import number  # noqa: E402


def put(fuzzer, name, content):
    folder = seeds / fuzzer
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def noise(length):
    made = b""
    while len(made) < length:
        made += hashlib.sha256(len(made).to_bytes(4, "little")).digest()
    return made[:length]


def make_frames():
    stream = (tests / "wire/golden/frames-v1.bin").read_bytes()
    index = 0
    while stream:
        kind, length = stream[0], int.from_bytes(stream[1:4], "little")
        payload, stream = stream[4:4 + length], stream[4 + length:]
        if kind == 22:
            # 8 blocks of 512 bytes a chunk, and a disk of 5 chunks and a bit (data_batch_fuzz.cpp, choose_shape).
            shape = bytes([0, 6, 35])
            put("data_batch", "golden", shape + length.to_bytes(2, "little") + payload)
        else:
            put("frame", f"golden-{index:02}-{kind}", bytes([kind]) + payload)
        put("preamble", f"header-{kind}", bytes([kind]) + length.to_bytes(3, "little"))
        index += 1
    put("frame", "change-of-nothing", bytes([51, 0, 1 << 2 | 1, 0]))
    put("frame", "zeroes-without-end", bytes([68]) + number(2**63 | 1))
    put("frame", "weigh-twice", bytes([70]) + number(7) + number(7))
    put("frame", "stretch-to-the-end", bytes([67, 0]) + number(999) + number(1))
    put("frame", "cuts-of-nothing", bytes([18, 0, 4]) + bytes(16) + bytes([0]))


def make_batches():
    shape = bytes([0, 6, 35])
    zeroes = number(1) + bytes(16) + number(1) + number(0) + number(8 << 1 | 1)
    paid = number(2) + bytes(16) + number(1) + number(1) + number(2 << 1)

    def batch(codec, raw, head, body):
        payload = bytes([codec]) + raw.to_bytes(3, "little") + len(head).to_bytes(3, "little") + head + body
        return len(payload).to_bytes(2, "little") + payload

    put("data_batch", "zeroes-alone", shape + batch(0, 0, zeroes, b""))
    put("data_batch", "cut-in-two", shape + batch(0, 600, zeroes + paid, b"a" * 600) + batch(0, 424, b"", b"b" * 424))
    # What `zstd --no-check -1 --stream-size=1024` makes of 1024 times "a".
    packed = bytes.fromhex("28b52ffd6000034d00001061610100fb2b8005")
    put("data_batch", "compressed", shape + batch(1, 1024, paid, packed))
    # A chunk of 24 blocks of 512 bytes, all of them: the first and the last of three pieces are noise.
    large = bytes([0, 22, 35])
    all_paid = number(0) + bytes(16) + number(1) + number(0) + number(24 << 1)
    # What `zstd --no-check -1 --stream-size=4096` makes of 4096 times "a".
    packed_piece = bytes.fromhex("28b52ffd60000f4d00001061610100fbf70116")
    put("data_batch", "split", large + batch(2, 3 * 4096, all_paid, bytes([0b010]) + noise(2 * 4096) + packed_piece))
    put("data_batch", "split-none", large + batch(2, 3 * 4096, all_paid, bytes([0b000]) + noise(2 * 4096) + packed_piece))
    put("compressed", "right-size", (1024).to_bytes(2, "little") + packed)
    put("compressed", "wrong-size", (1023).to_bytes(2, "little") + packed)
    put("compressed", "skippable", (16).to_bytes(2, "little") + bytes.fromhex("502a4d1804000000") + b"skip")


def make_files():
    put("preamble", "golden", (tests / "wire/golden/preamble-v1.bin").read_bytes())
    for name in ["differential-v1", "map-blocks-v1", "map-v1"]:
        put("map_file", name, (tests / f"plan/golden/{name}.bin").read_bytes())
    record = (b"reprotect state record 1\nsource.kind: file\nsource.inode: 12\ntarget.kind: block\n"
              b"target.serial: a%25b\nsource_name: /disks/new%0a.img\ntarget_name: two\n"
              b"source_size: 4096\ntarget_size: 8192\n"
              b"session: 0123456789abcdef0123456789abcdef\nstatus: clean\nupdated: 2026-11-22T10:00:00Z\n")
    put("state_record", "clean", record + b"sha256: " + hashlib.sha256(record).hexdigest().encode() + b"\n")
    put("state_record", "unsealed", record.replace(b"clean", b"poisoned"))
    put("key_file", "a-key", b"reprotect-key-1 " + b"0123456789abcdef" * 4 + b"\n")
    put("key_file", "no-digit", b"reprotect-key-1 " + b"0123456789abcdeg" * 4)


def make_texts():
    names = ["reprotect://host:7722/disk", "reprotect://[::1]/a%20b", "ssh://me@host:22/~/disk.img",
             "ssh://host/dev/vdb", "ssh://-oProxyCommand=x/dev/vdb", "reprotect://host:0/x",
             "reprotect://[::1/x", "ssh://@h/%00"]
    for index, name in enumerate(names):
        put("remote_name", f"name-{index}", name.encode())
    sizes = ["4096", "1.5GiB", "45GB", "9223372036854775807", "0.3KiB", "8EiB", "45MB/s", "100Mbit/s", "1K", "sha256",
             "1e3/s"]
    for index, size in enumerate(sizes):
        put("units", f"text-{index}", size.encode())
    put("peer_text", "mixed", b"caf\xc3\xa9 \x1b[31m\xc2\x9b\xed\xa0\x80\xf4\x90\x80\x80\xe2\x82 \n\x7f\\x1b")


def make_containers():
    for index, magic in enumerate([b"QFI\xfb", b"KDMV", b"COWD", b"# Disk DescriptorFile", b"vhdxfile"]):
        put("container", f"head-{index}", b"\0" + magic + b"\0" * len(magic))
    for name, kind, gap in [("fixed", 2, 64), ("dynamic", 3, 64), ("no-gap", 2, 0)]:
        # Two thirds of the content lie at the head (container_fuzz.cpp).
        size = 1024 + gap * 16
        footer = bytearray(512)
        footer[:8] = b"conectix"
        footer[48:56] = size.to_bytes(8, "big")
        footer[60:64] = kind.to_bytes(4, "big")
        footer[64:68] = ((~sum(footer)) & 0xffffffff).to_bytes(4, "big")
        put("container", f"footer-{name}", bytes([gap]) + b"\0" * 1024 + bytes(footer))


for made in seeds.glob("*/*"):
    if not made.name.startswith("found-"):
        made.unlink()
make_frames()
make_batches()
make_files()
make_texts()
make_containers()
