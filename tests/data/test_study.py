"""Spaces: who shares one, what is prepared and prepared again, and views over all of them."""

import shutil

import numpy as np
import pytest
from linear_studies import CHANS, dataset, study_of, write_study

from neurodec.class_paths import build
from neurodec.data import Dataset, Study, prepare
from neurodec.errors import NeurodecError


def prepared(root, out, chans=CHANS):
    write_study(root, chans)
    prepare(build(Dataset, dataset(), "dataset"), root, out)
    return Study.load(out)


def test_equal_montages_share_a_space_and_unequal_ones_do_not(tmp_path):
    alike = prepared(tmp_path / "alike", tmp_path / "one", {"anna": 6, "ben": 6})
    assert list(alike.spaces) == ["all"]
    assert alike.subjects == ["anna", "ben"]
    unlike = prepared(tmp_path / "unlike", tmp_path / "many")
    assert {name: trials.responses.shape[1] for name, trials in unlike.spaces.items()} == {
        "sub-anna": 6, "sub-ben": 9, "sub-cleo": 9
    }  # fmt: skip
    assert any("a space of its own" in note for entry in unlike.account for note in entry["notes"])


def test_a_space_that_was_lost_is_prepared_alone(tmp_path):
    study = prepared(tmp_path / "data", tmp_path / "out")
    kept = tmp_path / "out/sub-ben/responses.npy"
    before, lost = kept.stat().st_mtime_ns, np.array(study.spaces["sub-anna"].responses)
    shutil.rmtree(tmp_path / "out/sub-anna")
    prepare(build(Dataset, dataset(), "dataset"), tmp_path / "data", tmp_path / "out")
    again = Study.load(tmp_path / "out")
    np.testing.assert_array_equal(np.asarray(again.spaces["sub-anna"].responses), lost)
    assert kept.stat().st_mtime_ns == before


def test_parts_averages_and_windows_hold_in_every_space():
    study, _ = study_of()
    assert len(study) == 3 * 160
    part = study.part("train", ["ben"])
    assert part.subjects == ["ben"]
    assert list(part.spaces) == ["of-9"]
    assert len(study.part("test")) == 0
    assert study.part("test").spaces == {}
    cut = study.cut(tmin=0.1, tmax=0.3)
    assert {trials.responses.shape[-1] for trials in cut.spaces.values()} == {20}
    assert len(study.average()) == len(study)
    assert study.table["space"].value_counts().to_dict() == {"of-6": 160, "of-9": 320}


def test_one_array_of_several_spaces_is_refused():
    study, _ = study_of()
    with pytest.raises(NeurodecError, match=r"there are 2 spaces \(of-6, of-9\)"):
        study.trials  # noqa: B018
