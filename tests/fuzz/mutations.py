"""Seeded damage to files: what transfers, disks, editors and strangers do to them."""

import shutil

import numpy as np

WORDS = [
    b"",
    b"nan",
    b"n/a",
    b"-1",
    b"0",
    b"1e308",
    b"9223372036854775808",
    b"inf",
    b"\xff\xfe",
    b"\x00",
    b"'",
    b'"',
]
WORDS += [
    b"[" * 2000,
    b"{" * 2000,
    b"x" * 200_000,
    b"../../../etc/passwd",
    b"=1+1",
    b"\xe4",
    b"null",
    b"true",
    b"[]",
]
EDGES = [0, 1, 0x7F, 0x80, 0xFF]


def _flip(content, rng):
    for place in rng.integers(0, len(content), rng.integers(1, 6)):
        content[place] ^= 1 << int(rng.integers(8))
    return content


def _edge(content, rng):
    """Whole numbers at the end of their range, where a header holds them."""
    place, size = int(rng.integers(len(content))), int(rng.choice([1, 2, 4, 8]))
    content[place : place + size] = bytes([int(rng.choice(EDGES))]) * len(content[place : place + size])
    return content


def _head(content, rng):
    """The same near the beginning, where headers are."""
    place, size = int(rng.integers(min(len(content), 600))), int(rng.choice([1, 2, 4, 8]))
    content[place : place + size] = rng.integers(
        0, 256, len(content[place : place + size]), dtype=np.uint8
    ).tobytes()
    return content


def _cut(content, rng):
    return content[: int(rng.integers(len(content)))]


def _remove(content, rng):
    first = int(rng.integers(len(content)))
    return content[:first] + content[first + int(rng.integers(1, 200)) :]


def _insert(content, rng):
    place = int(rng.integers(len(content)))
    return (
        content[:place]
        + rng.integers(0, 256, int(rng.integers(1, 64)), dtype=np.uint8).tobytes()
        + content[place:]
    )


def _repeat(content, rng):
    first, size = int(rng.integers(len(content))), int(rng.integers(1, 400))
    return content[: first + size] + content[first : first + size] + content[first + size :]


def _zeros(content, rng):
    first = int(rng.integers(len(content)))
    size = min(len(content) - first, int(rng.integers(1, 2000)))
    return content[:first] + bytes(size) + content[first + size :]


def _word(content, rng):
    """Another value in a table, a JSON or YAML file."""
    ends = [i for i, byte in enumerate(content[:100_000]) if byte in b'\t,;\n:[]{}" '] or [0]
    at = int(rng.integers(len(ends)))
    stop = ends[at + 1] if at + 1 < len(ends) else len(content)
    return content[: ends[at] + 1] + WORDS[rng.integers(len(WORDS))] + content[stop:]


def _lines(content, rng):
    """Lines lost, doubled or exchanged."""
    lines = bytes(content).splitlines(keepends=True)
    first, second = rng.integers(0, len(lines), 2)
    kind = int(rng.integers(3))
    if kind == 0:
        del lines[first]
    elif kind == 1:
        lines.insert(second, lines[first])
    else:
        lines[first], lines[second] = lines[second], lines[first]
    return bytearray(b"".join(lines))


BYTES = [_flip, _edge, _head, _cut, _remove, _insert, _repeat, _zeros]
TEXT = [*BYTES, _word, _word, _word, _lines, _lines]
TEXTUAL = (".csv", ".tsv", ".json", ".yaml", ".vhdr", ".vmrk", ".txt")


def mutate(files, rng):
    """Damage one of the files, in place; say how."""
    file = files[int(rng.integers(len(files)))]
    kind = rng.random()
    if kind < 0.01:
        file.unlink()
        file.mkdir()
        return f"{file.name} is a folder"
    if kind < 0.02:
        file.unlink()
        file.symlink_to(file.name)
        return f"{file.name} is a link to itself"
    if kind < 0.03:
        file.write_bytes(b"")
        return f"{file.name} is empty"
    if kind < 0.05 and len(files) > 1:
        other = files[int(rng.integers(len(files)))]
        if other != file:
            shutil.copyfile(other, file)
        return f"{file.name} is {other.name}"
    content, names = bytearray(file.read_bytes()), []
    for _ in range(int(rng.integers(1, 4))):
        damage = (TEXT if file.suffix in TEXTUAL else BYTES)[
            rng.integers(len(TEXT if file.suffix in TEXTUAL else BYTES))
        ]
        content = bytearray(damage(content, rng)) if len(content) else content
        names.append(damage.__name__.strip("_"))
    file.write_bytes(bytes(content))
    return f"{file.name}: {', '.join(names)}"
