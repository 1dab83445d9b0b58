"""Linear decoders: one ridge engine, and the estimators on it."""

from neurodec.linear.classifier import Classifier, RidgeClassifier
from neurodec.linear.ridge import Ridge
from neurodec.linear.spectral import SpectralClassifier, SpectralFeatures, SpectralRegressor

__all__ = [
    "Classifier",
    "Ridge",
    "RidgeClassifier",
    "SpectralClassifier",
    "SpectralFeatures",
    "SpectralRegressor",
]
