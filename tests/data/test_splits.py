import pandas as pd
import pytest

from neurodec.data import validation_concepts
from neurodec.data.splits import check_leakage, n_overlapping
from neurodec.data.twins import check_twins
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


def test_any_column_of_trials_or_stimuli_may_be_the_level():
    table = table_of([("a1", "a")], [("b1", "b")])
    stimuli = pd.DataFrame({"stimulus": ["a1", "b1"], "sentence": ["one", "one"], "word": ["x", "y"]})
    check_leakage(table, "word", stimuli)
    check_leakage(table.assign(speaker=["f", "m"]), "speaker", stimuli)
    with pytest.raises(NeurodecError, match=r"share 1 sentence, first one \(rows 0, 1\).*`leakage: none`"):
        check_leakage(table, "sentence", stimuli)
    with pytest.raises(NeurodecError, match="share 1 subject, first 01"):
        check_leakage(table, "subject", stimuli)
    with pytest.raises(
        NeurodecError,
        match=r"is speaker\. There is no column speaker .*sentence, word\. Or set",
    ):
        check_leakage(table, "speaker", stimuli)


def test_stretches_of_one_sound_are_twins_where_they_overlap(tmp_path):
    for name, content in (("a.wav", b"sound"), ("copy.wav", b"sound"), ("b.wav", b"other")):
        (tmp_path / name).write_bytes(content)
    rows = [
        ("t1", "a.wav", "0", "3"),
        ("t2", "a.wav", "20", "3"),
        ("u1", "copy.wav", "3", "3"),  # touches t1
        ("u2", "b.wav", "0", "3"),
        ("u3", "copy.wav", "4.5", "3"),  # overlaps u1, which is of the test too
    ]
    stimuli = pd.DataFrame(rows, columns=["stimulus", "audio", "offset", "duration"])
    split = {name: "train" if name[0] == "t" else "test" for name in stimuli["stimulus"]}
    table = pd.DataFrame({"stimulus": list(split), "split": list(split.values())})
    assert check_twins(table, stimuli, tmp_path, ["sentence"]) == []
    more = pd.DataFrame([("t3", "a.wav", "5.9", "0.5")], columns=stimuli.columns)
    shown = pd.concat([table, pd.DataFrame({"stimulus": ["t3"], "split": ["train"]})])
    with pytest.raises(NeurodecError, match=r"2 test audio.*first u1 as t3"):
        check_twins(shown, pd.concat([stimuli, more]), tmp_path, ["stimulus"])
    same = stimuli.assign(offset="1")
    notes = check_twins(table, same, tmp_path, ["none"])
    assert notes[0].startswith("the test audios u1 and u3 are one and the same")
    assert notes[1].startswith("2 test audio(s) were shown in training under another name, first u1 as t")
    frames = pd.DataFrame({"stimulus": ["t", "u"], "array": "a.wav", "row": ["0", "1"], "offset": "0"})
    shown = pd.DataFrame({"stimulus": ["t", "u"], "split": ["train", "test"]})
    assert check_twins(shown, frames, tmp_path, ["stimulus"]) == []  # the same stretch of two rows
    everything = pd.DataFrame({"stimulus": ["t", "u"], "array": ["a.wav", "copy.wav"], "row": ["0", "1"]})
    shown = pd.DataFrame({"stimulus": ["t", "u"], "split": ["train", "test"]})
    assert check_twins(shown, everything, tmp_path, ["stimulus"]) == []
    with pytest.raises(NeurodecError, match="1 test array"):
        check_twins(shown, everything.assign(row="0"), tmp_path, ["stimulus"])


def test_windows_that_share_time_are_counted():
    onsets = [0.0, 0.5, 1.0, 3.0, 3.9, 6.0]
    table = pd.DataFrame({"onset": onsets, "split": ["train", "test", "train", "test", "validation", "test"]})
    table = table.assign(subject="01", session="01", run="01")
    assert n_overlapping(table, 1.0) == 2  # at 0.5 s beside two, at 3 s with the one of validation
    assert n_overlapping(table, 0.5) == 0
    assert n_overlapping(table.assign(run=[str(row) for row in range(6)]), 1.0) == 0
    assert n_overlapping(table.drop(columns="onset"), 1.0) == 0
