"""Variants of real files, drawn from a seed: bytes changed, pieces cut, doubled and moved, in archives too."""

import io
import random
import zipfile
import zlib
from collections.abc import Callable

# What parsers look for, and numbers at the edges of what they expect.
TOKENS = {
    "pdf": (
        b"endobj",
        b"stream\n",
        b"/Length 99999999",
        b"/Kids [1 0 R]",
        b"<<" * 60,
        b"-1",
        b"/Filter /FlateDecode",
    ),
    "html": (
        b"<table>",
        b"</div>",
        b"<td colspan=999999>",
        b"<!--",
        b"<svg>",
        b"<b><p>" * 40,
        b"&#x110000;",
        b"<pre>",
    ),
    "json": (b"[" * 300, b'{"a":', b"1e999", b'"\\ud800"', b"null", b"-", b'"text"', b"\x00"),
    "text": (b"\xff\xfe", b"\x0c", b"\r", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"a" * 3000, b"\n" * 300),
    "zip": (
        b"<w:tbl>",
        b"</w:p>",
        b"PK\x01\x02",
        b"<x/>" * 50,
        b"&amp;",
        b'href="../x"',
        b"<?xml version='1.0'?>",
    ),
}


def mutant(data: bytes, kind: str, seed: int) -> bytes:
    """One variant of a file. kind: "pdf", "docx", "epub", "html", "json" or "text"."""
    rng = random.Random(f"{kind} {seed}")
    if kind in ("docx", "epub") and rng.random() < 0.8:
        return _in_archive(data, rng)
    return _changed(data, TOKENS.get(kind, TOKENS["zip"]), rng)


def _changed(data: bytes, tokens: tuple[bytes, ...], rng: random.Random) -> bytes:
    for _ in range(rng.choice((1, 1, 2, 4, 8, 30))):
        data = rng.choice(CHANGES)(data, tokens, rng)
    return data


def _in_archive(data: bytes, rng: random.Random) -> bytes:
    """With one entry changed, lost, empty, or under another's name."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = {name: archive.read(name) for name in archive.namelist()}
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, EOFError, zlib.error):
        return _changed(data, TOKENS["zip"], rng)  # a variant that is no archive any more
    if not entries:
        return data
    small = [
        name for name, content in entries.items() if name.endswith(("xml", "rels", "html", "opf", "ncx"))
    ]
    name = rng.choice(small or list(entries))
    what = rng.random()
    if what < 0.75:
        entries[name] = _changed(entries[name], TOKENS["zip"], rng)
    elif what < 0.85:
        del entries[name]
    else:
        entries[name] = entries[rng.choice(list(entries))]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, content in entries.items():
            archive.writestr(entry, content)
    return packed.getvalue()


def _span(data: bytes, rng: random.Random) -> tuple[int, int]:
    start = rng.randrange(len(data) + 1)
    return start, min(len(data), start + rng.choice((1, 4, 30, 300, 3000)))


def _flip(data: bytes, tokens: tuple[bytes, ...], rng: random.Random) -> bytes:
    if not data:
        return data
    at = rng.randrange(len(data))
    return data[:at] + bytes((data[at] ^ (1 << rng.randrange(8)),)) + data[at + 1 :]


def _cut(data: bytes, tokens: tuple[bytes, ...], rng: random.Random) -> bytes:
    start, stop = _span(data, rng)
    return data[:start] + data[stop:]


def _double(data: bytes, tokens: tuple[bytes, ...], rng: random.Random) -> bytes:
    start, stop = _span(data, rng)
    return data[:stop] + data[start:stop] * rng.choice((1, 2, 50)) + data[stop:]


def _move(data: bytes, tokens: tuple[bytes, ...], rng: random.Random) -> bytes:
    start, stop = _span(data, rng)
    rest = data[:start] + data[stop:]
    at = rng.randrange(len(rest) + 1)
    return rest[:at] + data[start:stop] + rest[at:]


def _insert(data: bytes, tokens: tuple[bytes, ...], rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice(tokens) + data[at:]


def _digits(data: bytes, tokens: tuple[bytes, ...], rng: random.Random) -> bytes:
    """Another number in the place of one."""
    places = [at for at in (rng.randrange(len(data) or 1) for _ in range(200)) if data[at : at + 1].isdigit()]
    if not places:
        return data
    return data[: places[0]] + rng.choice((b"0", b"-1", b"65536", b"4294967295")) + data[places[0] + 1 :]


def _end(data: bytes, tokens: tuple[bytes, ...], rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


Change = Callable[[bytes, tuple[bytes, ...], random.Random], bytes]
CHANGES: tuple[Change, ...] = (_flip, _flip, _cut, _double, _move, _insert, _insert, _digits, _end)
