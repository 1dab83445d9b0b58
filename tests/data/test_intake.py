"""New recordings come out as those of the training did: the same numbers from the file, from Raw and from Epochs."""

import mne
import numpy as np
import pandas as pd
import pytest
from data.readers.recording_files import CH_NAMES, SFREQ, evoked_signals, write_brainvision

from neurodec.data import Recordings, Study, prepare
from neurodec.data.intake import Intake
from neurodec.errors import NeurodecError
from neurodec.preprocessing.eeg import EEGPreprocessing
from neurodec.systems.system import facts_of

ONSETS = np.arange(1, 37, 1.5)
SETTINGS = {
    "l_freq": 0.5,
    "h_freq": 40.0,
    "reference": ["Fp1"],
    "tmin": -0.2,
    "tmax": 0.8,
    "sfreq": 100.0,
    "keep_from": 0.0,
}


def study_of(root, sessions=("01",), **settings) -> Study:
    """Write and prepare one subject's recordings, of which every other trial is a training trial."""
    root.mkdir(exist_ok=True)
    names = np.array(["cat", "dog"] * (len(ONSETS) // 2))
    for session in sessions:
        signals = evoked_signals(np.random.default_rng(int(session)), ONSETS, names)
        write_brainvision(root / f"ses-{session}.vhdr", signals, ONSETS, ["S  1"] * len(ONSETS))
        shown = [f"{name}{row}" for row, name in enumerate(names)]
        table = pd.DataFrame({"onset": ONSETS, "stimulus": shown, "concept": shown})
        table.assign(split=["train", "test"] * (len(ONSETS) // 2)).to_csv(
            root / f"ses-{session}.csv", index=False
        )
    options = {"files": "ses-{session}.vhdr", "events": "ses-{session}.csv"}
    dataset = Recordings(**options, preprocessing=EEGPreprocessing(**{**SETTINGS, **settings}))
    prepare(dataset, root, root / "prepared", "none")
    return Study.load(root / "prepared")


def intake_of(study: Study, **cut) -> Intake:
    facts = facts_of(study.cut(**cut))
    return Intake(facts, facts.get("noise", {}))


def epochs_of(raw, filtered=True):
    raw = raw.copy().load_data()
    raw = raw.filter(0.5, 40.0, verbose="error") if filtered else raw
    events, _ = mne.events_from_annotations(raw, regexp="Stimulus/.*", verbose="error")
    return mne.Epochs(raw, events, tmin=-0.2, tmax=0.8, baseline=None, preload=True, verbose="error")


@pytest.mark.parametrize("whiten", ["mvnn-epochs", "zscore", "robust", "none"])
def test_raw_and_epochs_give_the_trained_responses(tmp_path, whiten):
    study = study_of(tmp_path, whiten=whiten, clamp=4.0 if whiten == "robust" else None, reference=None)
    cut = {"ch_names": ["O2", "Cz"], "tmin": 0.1, "tmax": 0.6}
    wanted = np.asarray(study.cut(**cut).trials.responses)
    intake, raw = intake_of(study, **cut), mne.io.read_raw(tmp_path / "ses-01.vhdr", verbose="error")
    tolerance = 1e-3 * np.abs(wanted).mean()
    for recording in (raw, epochs_of(raw).pick(CH_NAMES[::-1])):
        before = recording.get_data()
        np.testing.assert_allclose(intake.responses(recording, "01"), wanted, rtol=1e-3, atol=tolerance)
        np.testing.assert_array_equal(recording.get_data(), before)
    events, _ = mne.events_from_annotations(raw, regexp="Stimulus/.*", verbose="error")
    some = intake.responses(raw, "01", events[3:9])
    np.testing.assert_allclose(some, wanted[3:9], rtol=1e-3, atol=tolerance)


def test_the_noise_of_sessions_is_averaged_and_kept(tmp_path):
    study = study_of(tmp_path, ("01", "02"), whiten="mvnn-epochs", reference=None)
    noise = study.trials.info["noise"]["01"]
    parts = [
        study_of(tmp_path / name, (name,), whiten="mvnn-epochs", reference=None) for name in ("01", "02")
    ]
    alone = [part.trials.info["noise"]["01"] for part in parts]
    np.testing.assert_allclose(noise, np.mean(alone, axis=0), rtol=1e-6)
    saved = study.trials
    saved.save(tmp_path / "again")
    np.testing.assert_array_equal(type(saved).load(tmp_path / "again").info["noise"]["01"], noise)


def test_somebody_new_is_whitened_by_their_own_responses(tmp_path):
    study = study_of(tmp_path, whiten="mvnn-epochs", reference=None)
    intake, raw = intake_of(study), mne.io.read_raw(tmp_path / "ses-01.vhdr", verbose="error")
    usual = intake.responses(raw, "01")
    raw = mne.io.RawArray(5 * raw.get_data(), raw.info, verbose="error").set_annotations(raw.annotations)
    found = intake.responses(raw, "never met")
    covariance = np.mean([np.cov(response) for response in found], axis=0)
    np.testing.assert_allclose(covariance, np.eye(4), atol=0.15)
    np.testing.assert_allclose(intake.responses(raw, "01"), 5 * usual, rtol=1e-3, atol=1e-4)


def test_what_is_of_another_size_or_filter_is_told(tmp_path):
    study = study_of(tmp_path, whiten="mvnn-epochs", reference=None)
    intake, raw = intake_of(study), mne.io.read_raw(tmp_path / "ses-01.vhdr", verbose="error")
    epochs = epochs_of(raw).resample(100.0)
    volts = epochs.copy().crop(0.0).get_data()[..., :81]
    with pytest.raises(NeurodecError, match=r"of size .*e-0.*give mne.Epochs in SI units"):
        intake.responses(volts, "01")
    with pytest.raises(NeurodecError, match="leave out `preprocessed`"):
        intake.responses(epochs, "01", preprocessed=True)
    whitened = study.trials.to_epochs()
    with (
        pytest.warns(UserWarning, match="hold no baseline"),
        pytest.raises(NeurodecError, match="preprocessed=True"),
    ):
        intake.responses(whitened, "01")
    same = intake.responses(whitened, "01", preprocessed=True)
    np.testing.assert_allclose(same, study.trials.responses, rtol=1e-5)
    with pytest.warns(
        UserWarning, match="low-pass 125 Hz, in training 40 Hz; high-pass 0 Hz, in training 0.5 Hz"
    ):
        intake.responses(epochs_of(raw, filtered=False), "01")
    short = mne.io.read_raw(tmp_path / "ses-01.vhdr", verbose="error").crop(0, 35.7)
    with pytest.warns(UserWarning, match="events are decoded, others are left out"):
        assert len(intake.responses(short, "01", None)) < len(ONSETS)
    forgetful = Intake({**intake.facts, "preprocessing": None}, {})
    with pytest.raises(NeurodecError, match="does not say how its recordings were preprocessed"):
        forgetful.responses(raw, "01")


def test_trials_in_volts_are_whitened_subject_by_subject(tmp_path):
    plain = study_of(tmp_path, whiten="none", reference=None).trials
    white = study_of(tmp_path / "white", whiten="mvnn-epochs", reference=None)
    found = intake_of(white).responses(plain, None)
    np.testing.assert_allclose(found, white.trials.responses, rtol=1e-3, atol=1e-3)


def test_a_reference_is_applied(tmp_path):
    study = study_of(tmp_path, whiten="zscore", ch_names=None, reference="average")
    intake, raw = intake_of(study), mne.io.read_raw(tmp_path / "ses-01.vhdr", verbose="error")
    wanted = np.asarray(study.trials.responses)
    for recording in (raw, epochs_of(raw)):
        np.testing.assert_allclose(intake.responses(recording, "01"), wanted, atol=5e-3)
    assert raw.info["sfreq"] == SFREQ
