"""Frozen targets: CLIP embeddings of what was shown, cached by content."""

from neurodec.features.clip import OpenClip, image_layers
from neurodec.features.extractor import Extractor
from neurodec.features.precomputed import FeatureFiles
from neurodec.features.table import Features
from neurodec.features.weights import load_clip, load_tokenizer, weights_hash

__all__ = [
    "Extractor",
    "FeatureFiles",
    "Features",
    "OpenClip",
    "image_layers",
    "load_clip",
    "load_tokenizer",
    "weights_hash",
]
