"""Linear decoders: one ridge engine, and the estimators on it."""

from neurodec.linear.chosen import ChosenClassifier
from neurodec.linear.classifier import Classifier, RidgeClassifier
from neurodec.linear.estimators import ArrayClassifier
from neurodec.linear.evoked import WindowMeansClassifier, XdawnClassifier
from neurodec.linear.lagged import LaggedRidge
from neurodec.linear.ridge import Ridge
from neurodec.linear.spectral import SpectralClassifier, SpectralFeatures, SpectralRegressor

__all__ = [
    "ArrayClassifier",
    "ChosenClassifier",
    "Classifier",
    "LaggedRidge",
    "Ridge",
    "RidgeClassifier",
    "SpectralClassifier",
    "SpectralFeatures",
    "SpectralRegressor",
    "WindowMeansClassifier",
    "XdawnClassifier",
]
