"""Frozen targets: what networks know of the stimuli, cached by content."""

from neurodec.features.as_given import as_targets
from neurodec.features.autoencoder_latents import AutoencoderLatents
from neurodec.features.clip import OpenClip, embed_captions, embed_pictures
from neurodec.features.clips import SoundFeatures
from neurodec.features.extractor import Extractor
from neurodec.features.labels import ClassLabels, Numbers
from neurodec.features.mel import Mel
from neurodec.features.pixels import Pixels
from neurodec.features.precomputed import FeatureFiles
from neurodec.features.series import Series
from neurodec.features.speech_networks import SpeechNetwork
from neurodec.features.table import Features
from neurodec.features.tokens import image_layers
from neurodec.features.weights import load_clip, load_tokenizer, weights_hash

__all__ = [
    "AutoencoderLatents",
    "ClassLabels",
    "Extractor",
    "FeatureFiles",
    "Features",
    "Mel",
    "Numbers",
    "OpenClip",
    "Pixels",
    "Series",
    "SoundFeatures",
    "SpeechNetwork",
    "as_targets",
    "embed_captions",
    "embed_pictures",
    "image_layers",
    "load_clip",
    "load_tokenizer",
    "weights_hash",
]
