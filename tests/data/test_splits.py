import pandas as pd
import pytest

from neurodec.data import validation_concepts
from neurodec.data.splits import check_leakage, n_overlapping
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


def table_of(train, test, runs=("1", "2")):
    rows = [(*show, "train", runs[0]) for show in train] + [(*show, "test", runs[1]) for show in test]
    table = pd.DataFrame(rows, columns=["stimulus", "concept", "split", "run"])
    return table.assign(subject="01", session="01")


NEW = table_of([("cat1", "cat")], [("dog1", "dog")])
KNOWN_CONCEPT = table_of([("cat1", "cat")], [("cat2", "cat")])
KNOWN_STIMULUS = table_of([("cat1", "cat")], [("cat1", "cat")])
SAME_RUN = table_of([("cat1", "cat")], [("cat1", "cat")], runs=("1", "1"))


@pytest.mark.parametrize(
    ("table", "passes"),
    [
        (NEW, {"concept", "stimulus", "recording", "none"}),
        (KNOWN_CONCEPT, {"stimulus", "recording", "none"}),
        (KNOWN_STIMULUS, {"recording", "none"}),
        (SAME_RUN, {"none"}),
    ],
    ids=["new concepts", "new pictures", "known pictures", "one run"],
)
def test_what_may_be_shared_is_the_evaluations(table, passes):
    for level in ("concept", "stimulus", "recording", "none"):
        if level in passes:
            check_leakage(table, level)
        else:
            with pytest.raises(NeurodecError, match="Training and test share 1"):
                check_leakage(table, level)


def test_windows_that_share_time_are_counted():
    onsets = [0.0, 0.5, 1.0, 3.0, 3.9, 6.0]
    table = pd.DataFrame({"onset": onsets, "split": ["train", "test", "train", "test", "validation", "test"]})
    table = table.assign(subject="01", session="01", run="01")
    assert n_overlapping(table, 1.0) == 2  # at 0.5 s beside two, at 3 s with the one of validation
    assert n_overlapping(table, 0.5) == 0
    assert n_overlapping(table.assign(run=[str(row) for row in range(6)]), 1.0) == 0
    assert n_overlapping(table.drop(columns="onset"), 1.0) == 0
