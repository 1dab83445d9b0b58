import numpy as np
import pytest

from neurodec.errors import NeurodecError
from neurodec.systems import ContrastiveClassifier


def problem(rng, n=96):
    labels = rng.integers(2, size=n)
    responses = rng.normal(size=(n, 3, 80)).astype(np.float32)
    responses[:, 1, 30:60] += np.where(labels == 1, 1.5, -1.5)[:, None]
    return responses, labels


def fit(decoder, responses, labels, subjects=None):
    subjects = np.zeros(len(labels), int) if subjects is None else subjects
    return decoder.fit(responses, labels[None], np.arange(len(labels)), subjects)


def test_learns_and_repeats_itself(rng):
    responses, labels = problem(rng)
    scores = [
        fit(
            ContrastiveClassifier(n_epochs=10, n_outputs=8, batch_size=16), responses[:64], labels[:64]
        ).scores(responses[64:], np.zeros(32, int))
        for _ in range(2)
    ]
    assert scores[0].shape == (1, 32, 2)
    assert (scores[0][0].argmax(axis=1) == labels[64:]).mean() > 0.9
    assert np.array_equal(scores[0], scores[1])
    assert np.abs(scores[0]).max() <= 1 + 1e-6  # cosines


def test_scale_of_the_responses_does_not_matter(rng):
    responses, labels = problem(rng, 32)
    decoder = ContrastiveClassifier(n_epochs=1, n_outputs=8, batch_size=16)
    volts = fit(decoder, responses * 1e-6, labels).scores(responses * 1e-6, np.zeros(32, int))
    assert np.allclose(volts, fit(decoder, responses, labels).scores(responses, np.zeros(32, int)), atol=1e-3)


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("tests_encoder.Flat", "outside the allowed packages"),
        ("os.system", "outside the allowed packages"),
        ("ATM", "not an import path of a class"),
        ("neurodec.encoders.atm.math", "is not a class"),
        ("torch.load", "is not a class"),
    ],
)
def test_only_classes_of_allowed_packages_are_imported(path, sentence):
    with pytest.raises(NeurodecError, match=sentence):
        ContrastiveClassifier(path)


def test_an_encoder_by_its_path_is_the_class():
    assert ContrastiveClassifier("neurodec.encoders.ATM").encoder is ContrastiveClassifier().encoder


def test_patterns_are_refused(rng):
    with pytest.raises(NeurodecError, match="use the linear decoder"):
        fit(ContrastiveClassifier(), rng.normal(size=(8, 50)), rng.integers(2, size=8))


def test_unknown_subjects_are_minus_one(rng):
    responses, labels = problem(rng, 32)
    decoder = ContrastiveClassifier(n_epochs=1, n_outputs=8, batch_size=16)
    fit(decoder, responses, labels, np.repeat([2, 5], 16))
    assert decoder._ids(np.array([5, 2, 0, 9])).tolist() == [1, 0, -1, -1]
