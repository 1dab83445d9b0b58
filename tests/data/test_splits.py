import numpy as np
import pytest

from neurodec.data import leave_one_group_out, validation_concepts
from neurodec.errors import NeurodecError


def test_validation_draw_depends_on_the_set_alone():
    names = [f"c{index}" for index in range(50)]
    drawn = validation_concepts(names, 0.1, seed=3)
    assert len(drawn) == 5
    assert drawn == validation_concepts(names[::-1] * 2, 0.1, seed=3)
    assert drawn != validation_concepts(names, 0.1, seed=4)
    assert validation_concepts(names, 0, seed=3) == set()
    with pytest.raises(NeurodecError, match="validation_fraction"):
        validation_concepts(names, 1.0, seed=3)


def test_every_group_is_left_out_once():
    groups = np.array(["b", "a", "b", "c"])
    folds = leave_one_group_out(groups)
    assert [name for name, _, _ in folds] == ["a", "b", "c"]
    for name, train, test in folds:
        assert set(groups[test]) == {name}
        assert sorted([*train, *test]) == [0, 1, 2, 3]
    with pytest.raises(NeurodecError, match="Only one group"):
        leave_one_group_out(["a", "a"])
