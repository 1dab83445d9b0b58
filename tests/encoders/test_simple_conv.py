"""SimpleConv: any montage, unknown people, dropout of sensors, and a training that finds what was heard.

That it equals the authors' code is in tests/test_parity.py.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from neurodec import LightningSystem, Retrieval, Study, evaluate
from neurodec.data.trial_tables import with_defaults
from neurodec.data.trials import Trials
from neurodec.encoders import SimpleConv
from neurodec.encoders.sensor_attention import SensorAttention, flattened
from neurodec.errors import NeurodecError
from neurodec.features import Features
from neurodec.preprocessing.sinc import resample_sinc
from neurodec.training import TrainingData

SMALL = {"attention_channels": 8, "position_dim": 32, "initial_channels": 8, "hidden": 16, "depth": 4}
HEADS = {"audio": [6, 40]}


def network(n_chans=10, **changes):
    torch.manual_seed(0)
    return SimpleConv(n_chans, 3, HEADS, **{**SMALL, **changes})


def test_montages_of_any_size_and_order_give_the_same_kind_of_output(rng):
    model = network().eval()
    positions = torch.from_numpy(rng.normal(0, 0.1, (10, 3))).float()
    response = torch.randn(4, 10, 40)
    subject = torch.tensor([0, 1, 2, -1])
    found = model(response, subject, positions=positions)["audio"]
    assert found.shape == (4, 6, 40)
    order = torch.from_numpy(rng.permutation(10))
    again = model(response[:, order], subject, positions=positions[order])["audio"]
    torch.testing.assert_close(again, found, atol=1e-5, rtol=1e-4)
    padded = torch.cat([response, torch.randn(4, 3, 40)], dim=1)  # channels without a place play no part
    places = torch.cat([positions, torch.full((3, 3), torch.nan)])
    torch.testing.assert_close(model(padded, subject, positions=places)["audio"], found, atol=1e-5, rtol=1e-4)


def test_an_unknown_person_gets_the_mean_layer():
    model = network(attention_channels=0).eval()
    response = torch.randn(1, 10, 40)
    found = model(response, torch.tensor([-1]))["audio"]
    with torch.no_grad():
        model.subject_layer.weights[:] = model.subject_layer.weights.mean(dim=0)
    torch.testing.assert_close(model(response, torch.tensor([1]))["audio"], found, atol=1e-5, rtol=1e-4)


def test_sensors_near_a_random_place_are_left_out_in_training_alone():
    torch.manual_seed(1)
    attention = SensorAttention(4, 32, dropout=0.3)
    layout = torch.rand(30, 2)
    subject = torch.zeros(1, dtype=torch.long)
    weights = attention.train().weights(layout, subject)
    gone = (weights == 0).all(dim=0)
    assert 0 < gone.sum() < 30
    spread = (layout[gone] - layout[gone].mean(dim=0)).norm(dim=-1).max()
    assert spread < 0.6
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(4))
    assert (attention.eval().weights(layout, subject) > 0).all()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"position_dim": 256}, "256, which is not twice a square; choose 288 or 338"),
        ({"heads": {"audio": [6]}}, "predicts sequences .* has the shape"),
    ],
)
def test_what_it_cannot_be_is_refused(changes, told):
    arguments = {"n_chans": 5, "n_subjects": 1, "heads": HEADS, **changes}
    with pytest.raises(NeurodecError, match=told):
        SimpleConv(**arguments)


def test_places_that_nobody_knows_are_refused():
    with pytest.raises(NeurodecError, match="set a montage"):
        network()(torch.randn(2, 10, 40), torch.zeros(2, dtype=torch.long))
    with pytest.raises(NeurodecError, match="No sensor of a recording has a known position"):
        network()(
            torch.randn(2, 10, 40), torch.zeros(2, dtype=torch.long), positions=torch.full((10, 3), torch.nan)
        )


def test_layouts_fill_the_unit_square(rng):
    found = flattened(torch.from_numpy(rng.normal(0, 0.1, (12, 3))))
    assert found.min() == 0
    assert found.max() == 1


@pytest.mark.parametrize(("old", "new"), [(1000, 120), (128, 120), (250, 500)])
def test_sines_below_both_rates_are_resampled_exactly(old, new):
    times = np.arange(20 * old) / old
    signals = np.stack([np.sin(2 * np.pi * f * times + f) for f in (3.0, 17.0, 31.0)])
    found = resample_sinc(signals, old, new)
    assert found.shape == (3, 20 * new)
    later = np.arange(20 * new) / new
    wanted = np.stack([np.sin(2 * np.pi * f * later + f) for f in (3.0, 17.0, 31.0)])
    np.testing.assert_allclose(found[:, new:-new], wanted[:, new:-new], atol=2e-3)
    cut = resample_sinc(signals[:, : 5 * old], old, new)  # blocks do not matter
    np.testing.assert_allclose(cut[:, : 4 * new], found[:, : 4 * new], atol=1e-5)


@pytest.mark.slow
def test_segments_are_found_by_two_people_with_other_montages(rng):
    """Sequences that are mixed into sensors with a delay, heard by people with 12 and 9 sensors."""
    n, n_features, n_times = 240, 6, 40
    sounds = np.apply_along_axis(
        np.convolve, 2, rng.normal(size=(n, n_features, n_times)), np.ones(4) / 2, "same"
    )
    names = [f"segment-{number}" for number in range(n)]
    split = np.where(np.arange(n) < 200, "train", "test")
    spaces = {}
    for subject, n_chans in (("anna", 12), ("ben", 9)):
        mixing = rng.normal(size=(n_chans, n_features)) / np.sqrt(n_features)
        heard = np.einsum("cf,nft->nct", mixing, np.roll(sounds, 3, axis=2))
        heard = heard + 0.5 * rng.normal(size=heard.shape)
        info = {"modality": "meg", "units": "a.u.", "sfreq": 40.0, "tmin": 0.0}
        info |= {
            "ch_names": [f"S{i}" for i in range(n_chans)],
            "ch_pos": rng.normal(0, 0.1, (n_chans, 3)).tolist(),
        }
        table = with_defaults(pd.DataFrame({"stimulus": names, "split": split, "subject": subject}))
        spaces[subject] = Trials(heard.astype(np.float32), table, info)
    study = replace(Study.of(spaces["anna"]), spaces=spaces)
    targets = {"audio": Features(sounds.astype(np.float32), names, {"embedding_space": "toy/sequences"})}
    system = LightningSystem(
        {"class_path": "neurodec.encoders.SimpleConv", "init_args": SMALL},
        "neurodec.training.SequenceContrast",
        {"class_path": "torch.optim.Adam", "init_args": {"lr": 3e-3}},
        data=TrainingData(batch_size=40),
        max_epochs=15,
    ).fit(study.part("train"), targets)
    found = evaluate(system, study, targets, Retrieval(windows=None, channels=False, repetition_curve=False))
    scores = found.sections["retrieval"]
    assert scores["n_candidates"] == 40
    assert scores["ci95_top1"][0] > 3 * scores["chance_top1"]
