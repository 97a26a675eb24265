"""What frames consist of, for scripts that make them: lib/wire/frame.hpp has the grammar."""


def number(value):
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7f | 0x80])
        value >>= 7
    return out + bytes([value])
