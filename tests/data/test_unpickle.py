import collections
import os
import pickle

import numpy as np
import pytest

from neurodec import NeurodecError
from neurodec.data.unpickle import load_pickled


class _Evil:
    def __reduce__(self):
        return os.mkdir, ("/tmp/neurodec-test-evil",)


def _content(rng):
    big = rng.standard_normal((40, 5000))
    return {
        "big": big,
        "fortran": np.asfortranarray(big[:, :10]),
        "names": ["Oz", "O2"],
        "tuple": (1, 2.5, None, True),
        "text": np.array(["ab", "c"]),
        "scalar": np.float32(2),
        "objects": np.array(["q", 3], dtype=object),
        "swapped": np.arange(3, dtype=">i4"),
    }


def _check(found, expected):
    assert set(found) == set(expected)
    for name in ("big", "fortran", "swapped", "text"):
        np.testing.assert_array_equal(found[name], expected[name])
    assert found["names"] == ["Oz", "O2"]
    assert found["tuple"] == (1, 2.5, None, True)
    assert found["scalar"] == 2
    assert found["objects"] == ["q", 3]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_of_arrays_and_plain_values(rng, tmp_path, protocol):
    content = _content(rng)
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    _check(load_pickled(tmp_path / "x.pkl"), content)


def test_dict_in_npy_and_plain_npy(rng, tmp_path):
    content = _content(rng)
    np.save(tmp_path / "x.npy", content, allow_pickle=True)
    found = load_pickled(tmp_path / "x.npy")
    _check(found, content)
    assert not found["big"].flags.writeable  # a view of the file
    for array in (content["big"], content["fortran"]):
        np.save(tmp_path / "y.npy", array)
        np.testing.assert_array_equal(load_pickled(tmp_path / "y.npy"), array)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (_Evil(), "posix.mkdir"),
        (collections.OrderedDict(a=1), "collections.OrderedDict"),
        (os.path.join, "posixpath.join"),
        (np.zeros(2, dtype=[("a", "f4")]), "numpy.dtype"),
        (np.array("2020", dtype="M8[D]"), "numpy.dtype"),
    ],
)
def test_other_classes_are_refused_by_name_and_never_run(tmp_path, value, name):
    np.save(tmp_path / "x.npy", {"a": value}, allow_pickle=True)
    with pytest.raises(NeurodecError, match=f"holds the class {name}"):
        load_pickled(tmp_path / "x.npy")
    assert not os.path.exists("/tmp/neurodec-test-evil")


def test_damaged_files_are_told_apart(rng, tmp_path):
    file = tmp_path / "x.npy"
    np.save(file, _content(rng), allow_pickle=True)
    whole = file.read_bytes()
    for length in (len(whole) // 2, 300, len(whole) - 1):
        file.write_bytes(whole[:length])
        with pytest.raises(NeurodecError, match="cut short"):
            load_pickled(file)
    np.save(file, np.zeros(1000))
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(NeurodecError, match="cut short"):
        load_pickled(file)
    file.write_bytes(b"subject,stimulus\n1,2\n")
    with pytest.raises(NeurodecError, match="not a readable pickle"):
        load_pickled(file)
    file.write_bytes(b"")
    with pytest.raises(NeurodecError, match="is empty"):
        load_pickled(file)
    with pytest.raises(NeurodecError, match="is missing"):
        load_pickled(tmp_path / "y.npy")
