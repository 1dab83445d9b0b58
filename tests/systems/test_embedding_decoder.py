"""A contrastive network as an estimator: in pipelines, grids and cross-validations."""

import numpy as np
import pytest
from mne.decoding import Scaler
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from torch import nn

from neurodec import EmbeddingDecoder, NeurodecError


class Flat(nn.Module):
    def __init__(self, n_chans: int, n_times: int, n_outputs: int) -> None:
        super().__init__()
        self.layer = nn.Linear(n_chans * n_times, n_outputs)

    def forward(self, response):
        return self.layer(response.flatten(1))


@pytest.fixture
def recording(rng):
    """120 stimuli, shown twice."""
    embeddings = np.repeat(rng.normal(size=(120, 6)).astype(np.float32), 2, axis=0)
    weights = rng.normal(size=(6, 4 * 20))
    responses = (embeddings @ weights).reshape(240, 4, 20) + 0.5 * rng.normal(size=(240, 4, 20))
    return responses, embeddings


def quick(**settings):
    return EmbeddingDecoder(Flat, sfreq=100.0, max_epochs=25, lr=3e-3, **settings)


def test_it_finds_what_was_seen_in_held_out_trials(recording):
    scores = cross_val_score(quick(), *recording, cv=3)  # 40 candidates
    assert scores.min() > 10 / 40


def test_it_works_behind_transformers_and_in_a_grid(recording):
    responses, embeddings = recording
    piped = make_pipeline(Scaler(scalings="mean"), quick(validation_fraction=0.0))
    assert cross_val_score(piped, responses, embeddings, cv=2).mean() > 5 / 60
    grid = GridSearchCV(quick(), {"max_epochs": [1, 20]}, cv=2).fit(responses, embeddings)
    assert grid.best_params_ == {"max_epochs": 20}
    assert clone(grid.best_estimator_).get_params()["max_epochs"] == 20


def test_a_second_fit_is_another_and_people_are_told_apart(recording):
    responses, embeddings = recording
    people = np.tile(["anna", "ben"], 120)
    decoder = quick().fit(responses, embeddings, subjects=people)
    first = decoder.predict(responses[:5], people[:5])
    assert decoder.system_.config["subjects"] == ["anna", "ben"]
    decoder.fit(responses, embeddings[::-1].copy())
    assert not np.allclose(decoder.predict(responses[:5]), first)


def test_what_does_not_fit_is_told(recording):
    responses, embeddings = recording
    with pytest.raises(NeurodecError, match=r"240 responses and embeddings of shape \(239, 6\)"):
        quick().fit(responses, embeddings[1:])
    with pytest.raises(NeurodecError, match="need `sfreq`"):
        EmbeddingDecoder(Flat).fit(responses, embeddings)
