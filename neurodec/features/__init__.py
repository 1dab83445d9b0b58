"""Frozen targets: CLIP embeddings of what was shown, cached by content."""

from neurodec.features.clip import OpenClip, image_layers, load_clip, load_tokenizer
from neurodec.features.table import Features

__all__ = ["Features", "OpenClip", "image_layers", "load_clip", "load_tokenizer"]
