"""Whitening within folds: what the reader's whitening gives to the training trials, and nothing of the test trials."""

import numpy as np
import pytest

from neurodec import NeurodecError, RidgeSystem, Study, cross_validate
from neurodec.data.fold_whitening import whitened
from neurodec.preprocessing.eeg import EEGPreprocessing, whiten

SFREQ = 100.0


@pytest.fixture
def study(rng):
    """Two people in two sessions each, with a common noise of the channels that differs between sessions."""
    n, names = 160, [f"s{number % 40:02d}" for number in range(160)]
    responses = rng.normal(size=(n, 5, 30))
    session = np.repeat([1, 2, 1, 2], 40)
    subject = np.repeat(["anna", "ben"], 80)
    for place in range(4):
        rows = slice(40 * place, 40 * place + 40)
        responses[rows] = rng.normal(size=(5, 5)) @ responses[rows] * 1e-5
    split = np.where(np.arange(n) % 4 == 0, "test", "train")
    columns = {"subject": subject, "session": session, "split": split}
    return Study.from_arrays(responses, names, sfreq=SFREQ, **columns)


@pytest.mark.parametrize("how", ["mvnn-epochs", "zscore", "robust"])
def test_every_session_is_whitened_as_a_reader_would(study, how):
    found = whitened(study, how).trials
    before, table = np.asarray(study.trials.responses), study.trials.table
    for (_, _), rows in table.groupby(["subject", "session"]).indices.items():
        own = before[rows].astype(np.float32)
        trains = (table["split"].iloc[rows] == "train").to_numpy()
        whiten(own, table["stimulus"].iloc[rows].to_numpy(), trains, EEGPreprocessing(whiten=how), "x")
        np.testing.assert_allclose(found.responses[rows], own, rtol=2e-3, atol=2e-3)
    assert found.info["units"] == "a.u."
    assert set(found.info["noise"]) == {"anna", "ben"}


def test_test_trials_have_no_part_in_it(study):
    other = study.trials.responses.copy()
    tested = (study.trials.table["split"] == "test").to_numpy()
    other[tested] *= 1000
    changed = Study.from_arrays(
        other,
        study.table["stimulus"],
        sfreq=SFREQ,
        **{name: study.table[name] for name in ("subject", "session", "split")},
    )
    rows = np.flatnonzero(~tested)
    found = [whitened(one, "mvnn-epochs").trials.responses[rows] for one in (study, changed)]
    np.testing.assert_array_equal(*found)


def test_what_cannot_be_whitened_is_told(study):
    study.trials.info["preprocessing"] = {"whiten": "zscore"}
    with pytest.raises(NeurodecError, match="were whitened by their reader"):
        whitened(study, "zscore")
    study.trials.info.pop("preprocessing")
    table = study.trials.table
    table.loc[(table["subject"] == "anna") & (table["session"] == "2"), "split"] = "test"
    with pytest.raises(NeurodecError, match=r"Session anna/2 has no training trial"):
        whitened(study, "mvnn-epochs")
    voxels = Study.from_arrays(np.ones((4, 3)), list("abcd"))
    with pytest.raises(NeurodecError, match="no channels over time"):
        whitened(voxels, "zscore")


def test_it_helps_where_channels_share_noise(rng):
    """A signal in the direction of little noise: whitening finds it, in cross-validation of new stimuli."""
    targets = rng.normal(size=(150, 4))
    mixing = rng.normal(size=(12, 12))
    noise = np.einsum(
        "ij,njt->nit", mixing @ np.diag(10.0 ** -np.arange(12) / 4), rng.normal(size=(150, 12, 20))
    )
    signal = np.tensordot(targets, rng.normal(size=(4, 12, 1)) * np.ones(20), axes=1)
    responses = noise + 0.02 * signal
    study = Study.from_arrays(responses, [f"s{number:03d}" for number in range(150)], sfreq=SFREQ)
    scores = [
        cross_validate(RidgeSystem(), study, targets, n_folds=3, whiten=how).score
        for how in ("none", "mvnn-epochs")
    ]
    assert scores[1] >= scores[0]
