import numpy as np
import pandas as pd
import pytest
from training.test_fit import data, fit  # noqa: F401  a fixture

from neurodec.data import Study, Trials
from neurodec.training.history import training_summary


def history(data, out, epochs):  # noqa: F811
    fit(data, out, epochs)
    return pd.read_csv(out / "checkpoints/x/metrics.csv").assign(fold="x")


def test_a_training_that_reads_nothing_is_told(data, tmp_path, rng):  # noqa: F811
    learned = training_summary(history(data, tmp_path / "learned", 12))["x"]
    assert learned["beats_mean_predictor"]
    assert learned["part"] == "val"
    trials = data[0].trials
    noise = rng.standard_normal(trials.responses.shape).astype(np.float32)
    blank = Study.of(Trials(noise, trials.table, trials.info)), data[1]
    noisy = training_summary(history(blank, tmp_path / "noise", 3))["x"]
    assert not noisy["beats_mean_predictor"]
    assert noisy["best_loss"] == pytest.approx(noisy["loss_of_mean"], rel=0.5)


def test_a_model_that_reads_nothing_guesses_among_the_rows_of_a_batch(data, tmp_path):  # noqa: F811
    rows = history(data, tmp_path, 1)
    assert rows["train_loss_of_mean"].iloc[0] == pytest.approx(np.log(32), abs=1e-5)


def test_without_held_out_trials_the_training_loss_is_judged():
    table = pd.DataFrame({"fold": ["a", "a"], "train_loss": [3.0, 2.0], "train_loss_of_mean": [2.5, 2.5]})
    assert training_summary(table)["a"] == {
        "part": "train",
        "best_loss": 2.0,
        "loss_of_mean": 2.5,
        "beats_mean_predictor": True,
    }
