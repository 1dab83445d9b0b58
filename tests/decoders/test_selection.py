"""Choosing among samples: by the decoded embedding alone."""

import numpy as np
import pytest

from neurodec import NeurodecError
from neurodec.decoders import select


def test_the_most_similar_sample_is_chosen_whatever_the_lengths(rng):
    decoded = rng.standard_normal((40, 12))
    samples = rng.standard_normal((40, 5, 12))
    wanted = rng.integers(0, 5, 40)
    samples[np.arange(40), wanted] = decoded + 0.1 * rng.standard_normal((40, 12))
    lengths = rng.uniform(0.1, 50, (40, 5, 1))
    assert np.array_equal(select(samples * lengths, decoded), wanted)
    assert np.array_equal(select(samples, 100 * decoded), wanted)


def test_equal_samples_fall_to_the_first(rng):
    sample = rng.standard_normal(7)
    samples = np.stack([sample, 3 * sample, sample / 7])[None]
    assert select(samples, rng.standard_normal((1, 7))).tolist() == [0]


def test_bad_input_is_one_sentence(rng):
    samples = rng.standard_normal((3, 2, 4))
    with pytest.raises(NeurodecError, match=r"\(3, 2, 4\) and the decoded embeddings \(2, 4\)"):
        select(samples, np.zeros((2, 4)))
    samples[1, 0, 2] = np.nan
    with pytest.raises(NeurodecError, match="samples hold NaN or infinity, first in row 1"):
        select(samples, np.zeros((3, 4)))
