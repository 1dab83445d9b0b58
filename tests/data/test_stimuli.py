import pandas as pd
import pytest

from neurodec.data.stimuli import complete_stimuli, label_trials, read_stimuli, stimuli_of_trials
from neurodec.errors import NeurodecError


def stimuli(tmp_path, text):
    (tmp_path / "p.csv").write_text(text)
    return read_stimuli(tmp_path / "p.csv", tmp_path)


def shown(**columns):
    return pd.DataFrame({"stimulus": ["cat_1", "dog_1", "cat_1"], **columns})


def test_the_stimulus_table_decides_what_a_stimulus_is(tmp_path):
    table = stimuli(tmp_path, "stimulus,concept,split\ncat_1,cat,train\ndog_1,dog,test\nnew,cat,gallery\n")
    found = label_trials(shown(), table, "x")
    assert found["concept"].tolist() == ["cat", "dog", "cat"]
    assert found["split"].tolist() == ["train", "test", "train"]
    agreeing = label_trials(shown(concept=["cat", "n/a", "cat"]), table, "x")
    assert agreeing["concept"].tolist() == ["cat", "dog", "cat"]


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"concept": ["cat", "cat", "cat"]}, "gives dog_1 the concept 'cat' .*stimulus table 'dog'"),
        ({"split": ["train", "train", "train"]}, "gives dog_1 the split 'train' .*stimulus table 'test'"),
        ({"stimulus": ["cat_1", "horse", "cat_1"]}, r"shows horse \(event 2 of 3\)"),
    ],
)
def test_trials_that_say_otherwise_are_refused(tmp_path, columns, sentence):
    table = stimuli(tmp_path, "stimulus,concept,split\ncat_1,cat,train\ndog_1,dog,test\n")
    with pytest.raises(NeurodecError, match=sentence):
        label_trials(shown(**columns) if "stimulus" not in columns else pd.DataFrame(columns), table, "x")


def test_what_the_table_leaves_open_the_trials_say(tmp_path):
    table = stimuli(tmp_path, "stimulus,image\ncat_1,\ndog_1,\nnew,\n")
    assert "concept" not in table
    labelled = label_trials(shown(concept=["cat", "dog", "cat"], split="train"), table, "x")
    whole = complete_stimuli(table, labelled).set_index("stimulus")
    assert whole["concept"].to_dict() == {"cat_1": "cat", "dog_1": "dog", "new": "new"}
    assert whole["split"].to_dict() == {"cat_1": "train", "dog_1": "train", "new": "cv"}


def test_labels_on_which_trials_disagree_are_no_property_of_the_stimulus():
    found = stimuli_of_trials({"x": shown(concept=["hit", "miss", "miss"])})
    assert found.columns.tolist() == ["stimulus", "split"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("stimulus,split\na,training\n", r"p.csv has the split 'training'; use train, validation, test"),
        ("stimulus\na\na\n", "lists the stimulus a twice"),
        ("stimulus,image\na,\n,\nn/a,x\n", "names no stimulus at row 4"),
        ("stimulus,concept\na,x\nb,\n", "has no concept at row 3"),
        ("stimulus,image\na,../outside.png\n", "names the picture ../outside.png .*not below"),
        ("stimulus,image\na,/etc/hostname\n", "names the picture /etc/hostname .*not below"),
        ("stimulus,image\na,sub/../../outside.png\n", "not below"),
        ("stimulus,image\na,missing.png\n", r"missing.png \(row 2\), which is not below"),
    ],
)
def test_a_table_that_cannot_be_right_is_refused(tmp_path, text, sentence):
    root = tmp_path / "data"
    root.mkdir()
    (tmp_path / "outside.png").touch()
    with pytest.raises(NeurodecError, match=sentence):
        stimuli(root, text)
