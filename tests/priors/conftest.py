"""Jointly Gaussian pairs of brain and image embeddings, whose best prediction is known."""

from dataclasses import dataclass

import numpy as np
import pytest

N_TRAIN, N_TEST, N_CONCEPTS = 3000, 300, 100
WIDTH_Z, WIDTH_TARGET, RANK = 32, 20, 4


@dataclass(frozen=True)
class Pairs:
    """Training and held-out pairs, and the conditional mean of the held-out targets."""

    z: np.ndarray
    targets: np.ndarray
    groups: np.ndarray
    z_test: np.ndarray
    targets_test: np.ndarray
    optimum: np.ndarray


@pytest.fixture(scope="session")
def pairs() -> Pairs:
    """A few common causes show in both, beside noise; the optimum is E[target | z] of the joint Gaussian."""
    rng = np.random.default_rng(5)
    to_z, to_target = rng.normal(size=(RANK, WIDTH_Z)), rng.normal(size=(RANK, WIDTH_TARGET))
    causes = rng.normal(size=(N_TRAIN + N_TEST, RANK))
    z = causes @ to_z + 2.0 * rng.normal(size=(len(causes), WIDTH_Z))
    targets = 3.0 + causes @ to_target + 0.5 * rng.normal(size=(len(causes), WIDTH_TARGET))
    covariance_z = to_z.T @ to_z + 4.0 * np.eye(WIDTH_Z)
    optimum = 3.0 + z @ np.linalg.solve(covariance_z, to_z.T @ to_target)
    return Pairs(
        z[:N_TRAIN].astype(np.float32),
        targets[:N_TRAIN].astype(np.float32),
        np.array([f"concept {index % N_CONCEPTS}" for index in range(N_TRAIN)]),
        z[N_TRAIN:].astype(np.float32),
        targets[N_TRAIN:].astype(np.float32),
        optimum[N_TRAIN:],
    )


@pytest.fixture(scope="session")
def correlate():
    """The correlation of two sets of rows, centred per column."""

    def correlation(a: np.ndarray, b: np.ndarray) -> float:
        a, b = a - a.mean(axis=0), b - b.mean(axis=0)
        return float((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()))

    return correlation
