import hashlib

import numpy as np
import pytest

from neurodec.errors import NeurodecError
from neurodec.files import atomic_path, key_of, read_json, remove_partials, sha256_of, write_json


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
