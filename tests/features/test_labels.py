"""Labels as targets: classes, sequences of classes, numbers."""

import numpy as np
import pandas as pd
import pytest

from neurodec.errors import NeurodecError
from neurodec.features import ClassLabels, Numbers


def stimuli(*names):
    return pd.DataFrame({"stimulus": names, "concept": names})


def test_classes_are_sorted_and_one_hot():
    found = ClassLabels().extract(stimuli("rest", "left"), ".")
    assert found.info["classes"] == ["left", "rest"]
    np.testing.assert_array_equal(found.of(["left", "rest"]), np.eye(2))


def test_sequences_have_a_row_for_each():
    found = ClassLabels().extract(stimuli("W|N1", "N1|W", "W|W"), ".")
    assert found.values.shape == (3, 2, 2)
    np.testing.assert_array_equal(found.of(["W|N1"])[0], [[0, 1], [1, 0]])
    with pytest.raises(NeurodecError, match="Sequences of 1 and of 2 classes"):
        ClassLabels().extract(stimuli("W|N1", "W"), ".")


def test_numbers_are_read_from_names():
    np.testing.assert_allclose(Numbers().extract(stimuli("0.25", "1"), ".").of(["1", "0.25"]), [[1], [0.25]])
    with pytest.raises(NeurodecError, match="The stimulus much is not a number"):
        Numbers().extract(stimuli("0.25", "much"), ".")
    with pytest.raises(NeurodecError, match="The stimulus nan is not a number"):
        Numbers().extract(stimuli("nan", "1"), ".")
    with pytest.raises(NeurodecError, match="All trials are of the class rest"):
        ClassLabels().extract(stimuli("rest"), ".")
