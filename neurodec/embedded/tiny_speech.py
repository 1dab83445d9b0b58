"""The embedded network of speech: transformers' own `Wav2Vec2Model`, small, with random weights.

It is not trained: its convolutions are a random filter bank, which tells sounds apart, so that everything that reads
speech features runs without a download. What was said it does not know.
"""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import Wav2Vec2Config, Wav2Vec2Model

from neurodec.files import atomic_path

WIDTH, N_LAYERS = 32, 4


def new_speech_network(seed: int = 0) -> Wav2Vec2Model:
    """Return a network in the form of ``facebook/wav2vec2-large-xlsr-53``, of 4 layers and width 32.

    Parameters
    ----------
    seed : int
    """
    config = Wav2Vec2Config(
        hidden_size=WIDTH,
        num_hidden_layers=N_LAYERS,
        num_attention_heads=2,
        intermediate_size=64,
        conv_dim=(16,) * 7,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        conv_bias=True,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        apply_spec_augment=False,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Wav2Vec2Model(config).eval()


def build(folder: str | Path) -> Path:
    """Write the network as transformers keeps it.

    Parameters
    ----------
    folder : str or Path
    """
    with atomic_path(folder) as partial:
        new_speech_network().save_pretrained(partial, safe_serialization=True)
    return Path(folder)
