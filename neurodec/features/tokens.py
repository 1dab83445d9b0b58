"""What a CLIP network knows of a picture or caption besides its one embedding: tokens and inner layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neurodec.errors import NeurodecError


def image_layers(network: nn.Module, pictures: Tensor, layers: Sequence[int]) -> list[Tensor]:
    """Return the token maps of the named transformer blocks.

    Parameters
    ----------
    network : nn.Module
        An open_clip network as `load_clip` returns it.
    pictures : Tensor
        Transformed pictures, shape (B, 3, size, size).
    layers : sequence of int
        Blocks, counted from 0, in rising order.

    Returns
    -------
    list of Tensor
        One (B, width, h, w) per block; the class token is left out.

    Raises
    ------
    NeurodecError
        If the network has no such block.
    """
    try:
        output = network.forward_intermediates(
            image=pictures, image_indices=list(layers), intermediates_only=True
        )
    except (AssertionError, IndexError, AttributeError) as error:
        raise NeurodecError(
            f"The network has no layers {list(layers)} ({error}); correct `layer`."
        ) from error
    return output["image_intermediates"]


def image_patches(network: nn.Module, pictures: Tensor) -> Tensor:
    """Return the patch tokens of the last layer, normalised and not projected: wider than the embedding.

    MindEye2's target is such: 256 tokens of 1,664 values of ViT-bigG-14.

    Parameters
    ----------
    network : nn.Module
        An open_clip network with a vision transformer.
    pictures : Tensor, shape (B, 3, size, size)

    Returns
    -------
    Tensor, shape (B, n_places, width)

    Raises
    ------
    NeurodecError
        If the network is of another kind.
    """
    return _last_layer(network.visual, pictures)[1]


def _last_layer(visual: nn.Module, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Return the class token (B, 1, width) and the patches (B, n_places, width) of a vision transformer, normalised."""
    if getattr(visual, "proj", None) is None or not hasattr(visual, "forward_intermediates"):
        raise NeurodecError("The tokens of this network are not known; take layer: final.")
    found = visual.forward_intermediates(
        pictures,
        indices=1,
        normalize_intermediates=True,
        intermediates_only=True,
        output_fmt="NLC",
        output_extra_tokens=True,
    )
    return found["image_intermediates_prefix"][0], found["image_intermediates"][0]


def image_tokens(network: nn.Module, pictures: Tensor) -> Tensor:
    """Return every token of the last layer in the space of the embedding, the class token first.

    Parameters
    ----------
    network : nn.Module
        An open_clip network with a vision transformer (every token is normalised and projected like the class token, as
        MindBridge and Brain-Diffuser do) or a ResNet (whose attention pooling is asked at every place).
    pictures : Tensor, shape (B, 3, size, size)

    Returns
    -------
    Tensor, shape (B, 1 + n_places, D)
        The first token is the embedding.

    Raises
    ------
    NeurodecError
        If the network is of another kind.
    """
    visual = network.visual
    if hasattr(visual, "attnpool"):
        return _pooled_everywhere(visual, pictures)
    return torch.cat(_last_layer(visual, pictures), dim=1) @ visual.proj


def _pooled_everywhere(visual: nn.Module, pictures: Tensor) -> Tensor:
    """Run a ResNet's attention pooling with every place as the query, the mean first."""
    pool = visual.attnpool
    maps = visual.forward_intermediates(pictures, indices=1, intermediates_only=True)["image_intermediates"][
        0
    ]
    x = maps.flatten(2).permute(2, 0, 1)  # (h w, B, C)
    x = torch.cat([x.mean(dim=0, keepdim=True), x]) + pool.positional_embedding[:, None].to(x.dtype)
    projections = (pool.q_proj, pool.k_proj, pool.v_proj)
    query, key, value = (
        layer(x).transpose(0, 1).unflatten(-1, (pool.num_heads, -1)).transpose(1, 2) for layer in projections
    )
    heads = F.scaled_dot_product_attention(query, key, value)  # (B, heads, 1 + h w, d)
    return pool.c_proj(heads.transpose(1, 2).flatten(2))


def text_tokens(network: nn.Module, tokens: Tensor) -> Tensor:
    """Return every token of captions in the space of the embedding, the end token (the embedding) first.

    Parameters
    ----------
    network : nn.Module
    tokens : Tensor, shape (B, context_length), int64

    Returns
    -------
    Tensor, shape (B, 1 + context_length, D)
        The embedding, then the tokens in their order.
    """
    found = network.forward_intermediates(
        text=tokens, text_indices=1, normalize_intermediates=True, intermediates_only=True
    )["text_intermediates"][0]
    projection = network.text_projection
    every = projection(found) if isinstance(projection, nn.Module) else found @ projection
    end = every[torch.arange(len(every)), tokens.argmax(dim=-1)]
    return torch.cat([end[:, None], every], dim=1)
