"""Views give what an array gives, read little, and cost no memory."""

import numpy as np
import pytest

from neurodec.data.responses import Averages, Selection, View, select


@pytest.fixture
def whole(rng):
    return rng.normal(size=(40, 5, 12)).astype(np.float32)


class Counted(View):
    """Responses that count which rows were read."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.rows = array, array.shape, array.dtype, []

    def read(self, rows):
        self.rows.extend(rows.tolist())
        return self.array[rows]


ROWS = [np.array([7, 3, 3, 39]), np.arange(40) % 3 == 0, slice(4, 30, 2), slice(None)]


@pytest.mark.parametrize("rows", ROWS, ids=["list", "mask", "steps", "all"])
@pytest.mark.parametrize("chans", [None, np.array([4, 0])])
@pytest.mark.parametrize("times", [None, slice(2, 9)])
def test_a_selection_is_what_indexing_gives(whole, rows, chans, times):
    found = select(whole, rows, chans, times)
    expected = whole[rows]
    expected = expected if chans is None else expected[:, chans]
    expected = expected if times is None else expected[..., times]
    assert found.shape == expected.shape
    assert len(found) == len(expected)
    np.testing.assert_array_equal(np.asarray(found), expected)
    np.testing.assert_array_equal(found[2], expected[2])
    np.testing.assert_array_equal(found[1:3, 0], expected[1:3, 0])
    np.testing.assert_array_equal(found[np.array([1, 0])], expected[[1, 0]])
    np.testing.assert_array_equal(found[..., -1], expected[..., -1])


def test_a_selection_of_a_selection_reads_the_array_itself(whole):
    once = Selection(whole, np.arange(10, 40), np.array([4, 2, 0]), slice(2, 11))
    twice = select(once, np.array([5, 0]), np.array([1]), slice(3, 6))
    assert twice.source is whole
    np.testing.assert_array_equal(np.asarray(twice), whole[[15, 10]][:, [2], 5:8])


def test_only_what_is_asked_for_is_read(whole):
    counted = Counted(whole)
    part = select(counted, np.arange(20, 30))
    assert counted.rows == []
    part[3:5]
    assert counted.rows == [23, 24]


def test_a_fold_of_a_study_costs_its_row_numbers_alone():
    """Nine of ten subjects of THINGS-EEG2 are 45 GB as a copy."""

    class Huge(View):
        shape, dtype = (10 * 16_540 * 4, 63, 250), np.dtype(np.float32)

        def read(self, rows):
            return np.zeros((len(rows), 63, 250), dtype=np.float32)

    fold = select(select(Huge(), np.arange(9 * 16_540 * 4)), chans=np.arange(17), times=slice(50, 250))
    assert fold.nbytes > 8e9
    assert fold.rows.nbytes < 6e6
    assert fold[:3].shape == (3, 17, 200)


def test_averages_are_means_of_their_groups(whole):
    order = np.array([3, 9, 1, 20, 21, 22])
    found = Averages(whole, order, np.array([0, 2, 3]), np.array([2, 1, 3]))
    expected = np.stack([whole[[3, 9]].mean(0), whole[1], whole[[20, 21, 22]].mean(0)])
    np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-6)
    np.testing.assert_allclose(found[1], whole[1], rtol=1e-6)
    assert found.dtype == np.float32
