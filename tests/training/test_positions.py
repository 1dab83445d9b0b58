"""Encoders that read the places of sensors: several montages in one training, and none that is unknown."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from linear_studies import study_of
from torch import nn

from neurodec.errors import NeurodecError
from neurodec.systems import LightningSystem
from neurodec.training import TrainingData
from neurodec.training.saved_encoder import positions_of


class ByPlace(nn.Module):
    """Sums channels with weights that follow from their places alone, so any montage will do."""

    def __init__(self, n_times: int, n_outputs: int) -> None:
        super().__init__()
        self.weights, self.out = nn.Linear(3, 6), nn.Linear(6 * n_times, n_outputs)

    def forward(self, response: torch.Tensor, *, positions: torch.Tensor) -> torch.Tensor:
        assert positions.shape == (response.shape[1], 3)
        return self.out((self.weights(positions).softmax(dim=0).T @ response).flatten(1))


def placed(study, rng):
    spaces = {}
    for space, trials in study.spaces.items():
        places = rng.normal(0, 0.1, size=(trials.responses.shape[1], 3)).tolist()
        spaces[space] = replace(trials, info={**trials.info, "ch_pos": places})
    return replace(study, spaces=spaces)


def trained(study, targets, out=None):
    system = LightningSystem(
        ByPlace,
        data=TrainingData(validation_fraction=0.0),
        selection="last",
        max_epochs=2,
        allow={ByPlace.__module__.split(".")[0]},
    )
    return system.fit(study.part("train"), targets, out=out)


def test_montages_of_their_own_in_one_training(rng, tmp_path):
    study, targets = study_of({"anna": 5, "ben": 8}, noise=0.2, n_train=40)
    study = placed(study, rng)
    system = trained(study, targets, tmp_path)
    found = system.predict(study).of("image")
    assert np.isfinite(found).all()
    read = LightningSystem.from_pretrained(tmp_path / "models" / "all", {ByPlace.__module__.split(".")[0]})
    np.testing.assert_allclose(read.predict(study).of("image"), found, atol=1e-6)

    unplaced = replace(  # as arrays of a later day come
        study, spaces={n: replace(t, info={**t.info, "ch_pos": None}) for n, t in study.spaces.items()}
    )
    np.testing.assert_allclose(read.predict(unplaced).of("image"), found, atol=1e-6)
    moved = placed(study, rng)
    assert not np.allclose(read.predict(moved).of("image"), found, atol=1e-3)  # the trials' own places count


def test_unknown_places_are_refused_before_training(rng):
    study, targets = study_of({"anna": 5}, noise=0.2, n_train=40)
    with pytest.raises(NeurodecError, match="ByPlace reads the positions of sensors, and the recordings"):
        trained(study, targets)


def test_places_of_some_channels():
    assert positions_of({}) is None
    assert positions_of({"ch_pos": [None, None]}) is None
    found = positions_of({"ch_pos": [[0.0, 0.1, 0.2], None]})
    torch.testing.assert_close(found[0], torch.tensor([0.0, 0.1, 0.2]))
    assert found[1].isnan().all()
