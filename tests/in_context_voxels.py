"""Synthetic voxels of the specification sheet: pictures on the unit sphere, Gaussian encoders, known noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

E = 16


@dataclass
class Population:
    """Voxels ``w = mu + A z`` with ``A = G diag(linspace(2, 0.1, 16)) / 4`` and noise of 0.5."""

    seed: int = 0
    noise: float = 0.5

    def __post_init__(self):
        rng = np.random.default_rng(self.seed)
        self.factors = rng.normal(size=(E, E)) * np.linspace(2, 0.1, E) / 4
        self.mu = 0.3 * rng.normal(size=E)

    @property
    def mean(self):
        return np.append(self.mu, 0.0)

    @property
    def covariance(self):
        whole = np.zeros((E + 1, E + 1))
        whole[:E, :E] = self.factors @ self.factors.T
        whole[E, E] = 0.09
        return whole

    def voxels(self, rng, n):
        weights = self.mu + rng.normal(size=(n, E)) @ self.factors.T
        return weights, 0.3 * rng.normal(size=n)

    def pictures(self, rng, n):
        x = rng.normal(size=(n, E))
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    def responses(self, rng, weights, bias, pictures):
        clean = pictures @ weights.T + bias
        return clean + self.noise * rng.normal(size=clean.shape)


def explained(weights, bias, pictures, responses):
    """Mean over voxels of the share of variance that encoders explain."""
    residual = responses - pictures @ weights.T - bias
    return float(np.mean(1 - residual.var(axis=0) / responses.var(axis=0)))


def cosine(found, wanted):
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
    return float(np.mean((found * wanted).sum(axis=1) / lengths))


def top1(found, gallery):
    found = found / np.linalg.norm(found, axis=1, keepdims=True)
    return float(np.mean((found @ gallery.T).argmax(axis=1)[: len(gallery)] == np.arange(len(found))))
