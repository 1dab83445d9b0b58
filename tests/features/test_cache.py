"""The feature cache: computed once, resumed after a kill, safe against damage and company."""

import multiprocessing

import numpy as np
import pytest

from neurodec import NeurodecError
from neurodec.features import cache
from neurodec.features.cache import cached_blocks


@pytest.fixture(autouse=True)
def _small_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NEURODEC_CACHE", str(tmp_path))
    monkeypatch.setattr(cache, "_BLOCK", 4)


class Compute:
    """Row i is (i, i**2); counts the rows it was asked for."""

    def __init__(self, fail_at=None):
        self.rows, self.fail_at = [], fail_at

    def __call__(self, block):
        rows = list(range(block.start, block.stop))
        if self.fail_at in rows:
            raise KeyboardInterrupt
        self.rows += rows
        return np.array([(i, i**2) for i in rows], dtype=float)


CONTENTS = [f"hash{i}" for i in range(10)]
EXPECTED = np.array([(i, i**2) for i in range(10)], dtype=np.float32)


def test_rows_are_computed_once():
    first, second = Compute(), Compute()
    for compute in (first, second):
        values = cached_blocks(CONTENTS, {"model": "a"}, compute, "")
        np.testing.assert_array_equal(values, EXPECTED)
        assert values.dtype == np.float32
    assert first.rows == list(range(10))
    assert second.rows == []


def test_another_recipe_content_or_order_is_computed_again():
    cached_blocks(CONTENTS, {"model": "a"}, Compute(), "")
    for contents, recipe in ((CONTENTS, {"model": "b"}), (["new", *CONTENTS[1:]], {"model": "a"})):
        compute = Compute()
        cached_blocks(contents, recipe, compute, "")
        assert 0 in compute.rows
    swapped = Compute()
    cached_blocks([CONTENTS[1], CONTENTS[0], *CONTENTS[2:]], {"model": "a"}, swapped, "")
    assert swapped.rows == [0, 1, 2, 3]


def test_a_broken_run_goes_on_where_it_stopped():
    broken, resumed = Compute(fail_at=9), Compute()
    with pytest.raises(KeyboardInterrupt):
        cached_blocks(CONTENTS, {}, broken, "")
    np.testing.assert_array_equal(cached_blocks(CONTENTS, {}, resumed, ""), EXPECTED)
    assert resumed.rows == [8, 9]


@pytest.mark.parametrize("damage", [b"", b"no array at all"])
def test_a_damaged_block_is_computed_again(tmp_path, damage):
    cached_blocks(CONTENTS, {}, Compute(), "")
    for file in (tmp_path / "features").glob("*.npy"):
        file.write_bytes(damage)
    compute = Compute()
    np.testing.assert_array_equal(cached_blocks(CONTENTS, {}, compute, ""), EXPECTED)
    assert compute.rows == list(range(10))


def _same_rows(_):
    return cached_blocks(CONTENTS, {}, Compute(), "")


def test_processes_share_the_cache():
    with multiprocessing.get_context("fork").Pool(3) as pool:
        for values in pool.map(_same_rows, range(6), chunksize=1):
            np.testing.assert_array_equal(values, EXPECTED)


def test_no_stimuli_are_refused():
    with pytest.raises(NeurodecError, match="no stimulus"):
        cached_blocks([], {}, Compute(), "")
