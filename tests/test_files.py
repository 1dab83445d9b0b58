import errno
import hashlib

import numpy as np
import pandas as pd
import pytest

from neurodec.errors import NeurodecError
from neurodec.files import (
    atomic_path,
    claim,
    key_of,
    read_json,
    read_own_table,
    remove_partials,
    sampled_sha256_of,
    sha256_of,
    write_json,
    write_table,
)


def test_a_failed_write_leaves_the_old_file_and_no_trace(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail() -> None:
        with atomic_path(path) as partial:
            partial.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "old"


@pytest.mark.parametrize("inside", ["", "/part.npy"])
def test_an_obstacle_names_the_file_and_not_its_temporary_sibling(tmp_path, inside):
    with pytest.raises(PermissionError) as told, atomic_path(tmp_path / "x") as partial:
        raise PermissionError(errno.EACCES, "Permission denied", f"{partial}{inside}")
    assert told.value.filename == str(tmp_path / "x")


def test_a_folder_is_replaced_whole_and_leftovers_go(tmp_path):
    for content in ("one", "two"):
        with atomic_path(tmp_path / "folder") as partial:
            partial.mkdir()
            (partial / content).touch()
    assert [file.name for file in (tmp_path / "folder").iterdir()] == ["two"]
    (tmp_path / ".123.partial.folder").mkdir()
    remove_partials(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["folder"]


def test_json_and_hashes(tmp_path):
    write_json(tmp_path / "a.json", {"x": np.float32(1.5), "y": np.arange(2)})
    assert read_json(tmp_path / "a.json") == {"x": 1.5, "y": [0, 1]}
    assert sha256_of(tmp_path / "a.json") == hashlib.sha256((tmp_path / "a.json").read_bytes()).hexdigest()
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1}) != key_of({"a": 1, "b": 3})
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(NeurodecError, match=r"a\.json"):
        read_json(tmp_path / "a.json")


LABELS = ["=1+1", "'=x", "''@y", "+3", "-1", "@SUM(A1)", "\tx", "\rx", "cat", "'quoted'", "", "3"]


def test_no_name_is_a_formula_and_every_name_comes_back(tmp_path):
    table = pd.DataFrame(
        {"stimulus": LABELS, "=evil": LABELS[::-1], "onset": np.linspace(-1, 1, len(LABELS))}
    )
    write_table(tmp_path / "t.csv", table)
    raw = pd.read_csv(tmp_path / "t.csv", dtype=str, keep_default_na=False)
    for cell in [*raw.columns, *raw["stimulus"], *raw["'=evil"]]:
        assert cell[:1] not in tuple("=+-@\t\r")
    back = read_own_table(tmp_path / "t.csv", dtype={"stimulus": str, "'=evil": str})
    pd.testing.assert_frame_equal(back, table, check_dtype=False)
    assert (back["onset"] == table["onset"]).all()


def test_a_sampled_hash_sees_size_and_stretches(tmp_path):
    content = bytearray(np.random.default_rng(0).bytes(4_000_000))
    (tmp_path / "a").write_bytes(content)
    first = sampled_sha256_of(tmp_path / "a")
    (tmp_path / "b").write_bytes(content)
    assert sampled_sha256_of(tmp_path / "b") == first
    for change in (slice(0, 1), slice(-1, None), slice(2_000_000, 2_000_001)):
        other = bytearray(content)
        other[change] = bytes([other[change][0] ^ 1])
        (tmp_path / "b").write_bytes(other)
        assert sampled_sha256_of(tmp_path / "b") != first
    (tmp_path / "b").write_bytes(content[:-1])
    assert sampled_sha256_of(tmp_path / "b") != first


def test_a_folder_belongs_to_what_it_was_made_with(tmp_path):
    claim(tmp_path, "one", "pictures")
    claim(tmp_path, "one", "pictures")
    with pytest.raises(NeurodecError, match="holds pictures of another configuration or of other data"):
        claim(tmp_path, "two", "pictures")


def test_what_killed_writers_left_below_is_deleted(tmp_path):
    for folder in (tmp_path, tmp_path / "evaluation", tmp_path / "evaluation/sub-01", tmp_path / "a/b/c"):
        (folder / ".1.partial.former.x").mkdir(parents=True)
    remove_partials(tmp_path, depth=2)
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob(".*")] == [
        "a/b/c/.1.partial.former.x"
    ]


def test_a_refusal_is_one_line_whatever_names_hold():
    assert str(NeurodecError("The picture a\r\n  b,c\nd is missing.")) == "The picture a b,c d is missing."
