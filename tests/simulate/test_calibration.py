"""The noise level of the demo: off both ends, so that encoders can be distinguished.

Half of the demo pictures at 250 instead of 1000 Hz, read by the reader of real recordings. Ridge with a tuned
penalty, scored as every decoder is, must find 200 unseen scenes clearly above chance (0.5 %) and far below the 20 to
50 % that ATM is to reach.
"""

import numpy as np
import pytest

from neurodec.data.readers.datasets.things_eeg2 import OCCIPITO_PARIETAL, ThingsEEG2
from neurodec.evaluation.retrieval.scored import Scored
from neurodec.evaluation.retrieval.similarity import Centre, Gallery
from neurodec.features import OpenClip
from neurodec.linear.ridge import Ridge
from neurodec.simulate.eeg_recording import EEGSession
from neurodec.simulate.rendered_stimuli import draw_study, write_images


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """Trials of one simulated subject and the pictures' CLIP embeddings by stimulus."""
    root = tmp_path_factory.mktemp("calibration")
    study = draw_study((500, 4, 200, 0), seed=0)
    write_images(root, study)
    for session in (1, 2):
        EEGSession(study, 1, session, test_repetitions=10, seed=0, sfreq=250.0).write(root)
    reader = ThingsEEG2(ch_names=list(OCCIPITO_PARIETAL), tmax=0.6)
    parts = [reader.load(part, root) for part in reader.parts(root)]
    stimuli = reader.stimuli(root)
    return parts[0].concatenate(parts), OpenClip().extract(stimuli, root)


@pytest.mark.quality
def test_ridge_is_above_chance_and_off_the_ceiling(recording):
    trials, features = recording
    train, test = trials.split("train"), trials.split("test").average()
    targets = features.values[features.rows(train.table["stimulus"])]

    def binned(trials):  # 20 ms
        x = trials.responses
        return x[..., : x.shape[-1] // 5 * 5].reshape(*x.shape[:2], -1, 5).mean(axis=-1)

    ridge = Ridge().fit(binned(train), targets, groups=train.table["concept"].to_numpy())
    names, mean = test.table["stimulus"].tolist(), targets.mean(axis=0)
    gallery = Gallery(features.of(names), names, names, centre=Centre(mean, mean))
    found = Scored.of(ridge.predict(binned(test)), test.table, gallery).top().mean()
    assert 0.03 <= found <= 0.16


@pytest.mark.quality
def test_single_trials_are_noise_to_the_eye(recording):
    """The evoked answer of one picture is a fraction of single-trial amplitude, as in real recordings."""
    trials, _ = recording
    test = trials.split("test")
    average = test.average()
    variance = np.var(test.responses)
    signal = np.var(average.responses) - variance / 20
    assert 0.0 < signal / variance < 0.1
