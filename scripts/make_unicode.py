#!/usr/bin/python3
"""Writes lib/model/text_unicode.c: what Python's str.lower and the \\w of its re module know of each character.

Usage: scripts/make_unicode.py > lib/model/text_unicode.c, with the Python whose Unicode is the reference (3.11 of Debian
12: Unicode 14). The properties Cased and Case_Ignorable have no name in Python; what str.lower does with a capital sigma
behind a character tells them.
"""
import sys
import unicodedata

SHIFT = 7
WORD, CASED, IGNORABLE = 1, 2, 4
SPECIAL = {0x130: "i\u0307", 0x3A3: "\u03c3"}  # text_tokens.c knows these two by name


def record(code):
    if 0xD800 <= code <= 0xDFFF:
        return 0, 0
    char = chr(code)
    flags = WORD if char.isalnum() or char == "_" else 0
    if (char + "\u03a3").lower()[-1] == "\u03c2":
        flags |= CASED
    elif ("a" + char + "\u03a3").lower()[-1] == "\u03c2":
        flags |= IGNORABLE
    lower = char.lower()
    if code in SPECIAL:
        assert lower == SPECIAL[code]
        return flags, 0
    assert len(lower) == 1, f"U+{code:04X} has a lower case of {len(lower)} characters"
    return flags, ord(lower) - code


def rows(values, per_line):
    for at in range(0, len(values), per_line):
        print("\t" + ", ".join(str(value) for value in values[at : at + per_line]) + ",")


def main():
    records, blocks, index, entries = {}, {}, [], []
    for start in range(0, sys.maxunicode + 1, 1 << SHIFT):
        block = tuple(records.setdefault(record(code), len(records)) for code in range(start, start + (1 << SHIFT)))
        if block not in blocks:
            blocks[block] = len(blocks)
            entries.extend(block)
        index.append(blocks[block])
    while index[-1] == index[-2]:  # what follows the last is like it
        index.pop()
    assert len(records) <= 256 and len(blocks) <= 256
    print(f"/* Characters of Unicode {unicodedata.unidata_version}. Written by scripts/make_unicode.py; not changed by hand. */")
    print('#include "model/text_unicode.h"\n')
    print("/* clang-format off */")
    print("const struct text_unicode_record TEXT_UNICODE_RECORDS[] = {")
    rows([f"{{{delta}, {flags}}}" for flags, delta in records], 10)
    print("};\n")
    print("const uint8_t TEXT_UNICODE_ASCII[128] = {")
    rows([ord(chr(code).lower()) if record(code)[0] & WORD else 0 for code in range(128)], 32)
    print("};\n")
    print(f"const uint8_t TEXT_UNICODE_INDEX[{len(index)}] = {{")
    rows(index, 32)
    print("};")
    print("const unsigned TEXT_UNICODE_INDEX_N = sizeof(TEXT_UNICODE_INDEX);\n")
    print("const uint8_t TEXT_UNICODE_ENTRIES[] = {")
    rows(entries, 32)
    print("};\n/* clang-format on */")


main()
