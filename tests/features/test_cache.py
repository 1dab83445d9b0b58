"""The feature cache: computed once, resumed after a kill, safe against damage and company."""

import multiprocessing

import numpy as np
import pytest

from neurodec import NeurodecError
from neurodec.features import cache
from neurodec.features.cache import cached_rows


@pytest.fixture(autouse=True)
def _small_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NEURODEC_CACHE", str(tmp_path))
    monkeypatch.setattr(cache, "_BLOCK", 4)


class Compute:
    """Row i is (i, i**2); counts the rows it was asked for."""

    def __init__(self, fail_at=None):
        self.rows, self.fail_at = [], fail_at

    def __call__(self, rows):
        for start in range(0, len(rows), 2):
            batch = rows[start : start + 2]
            if self.fail_at in batch:
                raise KeyboardInterrupt
            self.rows += batch
            yield np.array([(i, i**2) for i in batch], dtype=float)


CONTENTS = [f"hash{i}" for i in range(10)]
EXPECTED = np.array([(i, i**2) for i in range(10)], dtype=np.float32)


def test_rows_are_computed_once():
    first, second = Compute(), Compute()
    for compute in (first, second):
        values = cached_rows(CONTENTS, {"model": "a"}, compute, "")
        np.testing.assert_array_equal(values, EXPECTED)
        assert values.dtype == np.float32
    assert first.rows == list(range(10))
    assert second.rows == []


def test_only_what_is_new_is_computed():
    cached_rows(CONTENTS, {"model": "a"}, Compute(), "")
    other, one, none = Compute(), Compute(), Compute()
    cached_rows(CONTENTS, {"model": "b"}, other, "")
    assert other.rows == list(range(10))
    cached_rows(["new", *CONTENTS[1:]], {"model": "a"}, one, "")
    assert one.rows == [0]
    swapped = cached_rows(CONTENTS[::-1], {"model": "a"}, none, "")
    assert none.rows == []
    np.testing.assert_array_equal(swapped, EXPECTED[::-1])


def test_large_targets_stay_on_the_disk(monkeypatch):
    monkeypatch.setattr(cache, "_IN_MEMORY", 10)
    found = cached_rows(CONTENTS, {}, Compute(), "", half=True)
    assert isinstance(found, cache.CachedRows)
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found[[7, 2]], EXPECTED[[7, 2]])


def test_a_broken_run_goes_on_where_it_stopped():
    broken, resumed = Compute(fail_at=9), Compute()
    with pytest.raises(KeyboardInterrupt):
        cached_rows(CONTENTS, {}, broken, "")
    np.testing.assert_array_equal(cached_rows(CONTENTS, {}, resumed, ""), EXPECTED)
    assert resumed.rows == [8, 9]


@pytest.mark.parametrize("damage", [b"", b"no array at all"])
def test_a_damaged_block_is_computed_again(tmp_path, damage):
    cached_rows(CONTENTS, {}, Compute(), "")
    for file in (tmp_path / "features").glob("*/*.npy"):
        file.write_bytes(damage)
    compute = Compute()
    np.testing.assert_array_equal(cached_rows(CONTENTS, {}, compute, ""), EXPECTED)
    assert compute.rows == list(range(10))


def _same_rows(_):
    return cached_rows(CONTENTS, {}, Compute(), "")


def test_processes_share_the_cache():
    with multiprocessing.get_context("fork").Pool(3) as pool:
        for values in pool.map(_same_rows, range(6), chunksize=1):
            np.testing.assert_array_equal(values, EXPECTED)


def test_no_stimuli_are_refused():
    with pytest.raises(NeurodecError, match="no stimulus"):
        cached_rows([], {}, Compute(), "")
