"""The network of ATM's diffusion prior: a U-Net of linear layers over one embedding vector."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from torch import Tensor, nn

from neurodec.encoders.checkpoints import take_exactly
from neurodec.errors import NeurodecError


class DiffusionPriorUNet(nn.Module):
    """Tell the noise in a noisy image embedding, given a brain embedding.

    Narrowing linear layers, then widening ones that add what the same width held on the way down. Every level has its
    own view of the time step and of the condition.

    Parameters
    ----------
    embed_dim, cond_dim : int
        Widths of the image embedding and of the condition.
    hidden_dim : sequence of int
        Widths of the levels, at least two.
    time_embed_dim : int
        Width of the sinusoidal code of the time step.
    dropout : float
        After every level.
    act_fn : {"SiLU", "GELU", "ReLU"}
        Activation of the levels; the tensors of a checkpoint do not tell it.

    Raises
    ------
    NeurodecError
        If there are fewer than two levels: none of them would read the condition.

    References
    ----------
    Li et al. (2024), Visual decoding and reconstruction via EEG embeddings with guided diffusion, NeurIPS. Tensors have
    the names of the published class of the same name.
    """

    def __init__(
        self,
        embed_dim: int = 1024,
        cond_dim: int = 1024,
        hidden_dim: Sequence[int] = (1024, 512, 256, 128, 64),
        time_embed_dim: int = 512,
        dropout: float = 0.1,
        act_fn: Literal["SiLU", "GELU", "ReLU"] = "SiLU",
    ) -> None:
        super().__init__()
        if len(hidden_dim) < 2:
            raise NeurodecError(
                f"hidden_dim is {list(hidden_dim)}; the prior needs at least two widths, such as [128, 64]."
            )
        self.embed_dim, self.cond_dim = embed_dim, cond_dim
        self.hidden_dim, self.time_embed_dim = list(hidden_dim), time_embed_dim
        down, up = self.hidden_dim, self.hidden_dim[::-1]
        activation = getattr(nn, act_fn)

        def level(n_inputs: int, n_outputs: int, *more: nn.Module) -> nn.Sequential:
            return nn.Sequential(nn.Linear(n_inputs, n_outputs), nn.LayerNorm(n_outputs), activation(), *more)

        def conditions(widths: list[int]) -> nn.ModuleList:
            return nn.ModuleList(nn.Linear(cond_dim, width) for width in widths[:-1])

        def times(widths: list[int]) -> nn.ModuleList:
            return nn.ModuleList(TimestepEmbedding(time_embed_dim, width) for width in widths[:-1])

        def levels(widths: list[int]) -> nn.ModuleList:
            return nn.ModuleList(level(*pair, nn.Dropout(dropout)) for pair in pairwise(widths))

        self.time_proj = Timesteps(time_embed_dim, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.input_layer = level(embed_dim, down[0])
        self.encode_time_embedding, self.decode_time_embedding = times(down), times(up)
        self.encode_cond_embedding, self.decode_cond_embedding = conditions(down), conditions(up)
        self.encode_layers, self.decode_layers = levels(down), levels(up)
        self.output_layer = nn.Linear(up[-1], embed_dim)

    def forward(self, x: Tensor, t: Tensor, c: Tensor | None = None, dropped: Tensor | None = None) -> Tensor:
        """Predict the noise.

        Parameters
        ----------
        x : Tensor, shape (B, embed_dim)
            Noisy embeddings.
        t : Tensor, shape (B,) or (1,), int64
            Time steps; a single one holds for all rows.
        c : Tensor, shape (B, cond_dim), optional
            Conditions; without them the prediction is unconditional.
        dropped : Tensor, shape (B,), bool, optional
            Rows whose condition is left out.

        Returns
        -------
        Tensor, shape (B, embed_dim)
        """
        terms = self.times(t)
        if c is not None:
            terms = [time + own for time, own in zip(terms, self.conditions(c, dropped), strict=True)]
        return self.denoise(x, terms)

    def times(self, t: Tensor) -> list[Tensor]:
        """Return what the time step adds at every level, down then up, each (B, width)."""
        code = self.time_proj(t).to(self.output_layer.weight.dtype)
        return [layer(code) for layer in (*self.encode_time_embedding, *self.decode_time_embedding)]

    def conditions(self, c: Tensor, dropped: Tensor | None = None) -> list[Tensor]:
        """Return what the condition adds at every level: nothing in dropped rows, not even a bias."""
        terms = [layer(c) for layer in (*self.encode_cond_embedding, *self.decode_cond_embedding)]
        return terms if dropped is None else [term.masked_fill(dropped[:, None], 0.0) for term in terms]

    def denoise(self, x: Tensor, terms: Sequence[Tensor]) -> Tensor:
        """Predict from the sum of what is added at every level.

        A sampler computes those sums' parts where they change: of the condition once, of the time once per step.
        """
        depth = len(self.encode_layers)
        x = self.input_layer(x)
        kept = []
        for layer, term in zip(self.encode_layers, terms[:depth], strict=True):
            kept.append(x)
            x = layer(x + term)
        for layer, term in zip(self.decode_layers, terms[depth:], strict=True):
            x = layer(x + term) + kept.pop()
        return self.output_layer(x)

    @classmethod
    def from_published(
        cls,
        state: dict[str, Tensor],
        source: str = "The state dict",
        act_fn: Literal["SiLU", "GELU", "ReLU"] = "SiLU",
    ) -> DiffusionPriorUNet:
        """Build the network from the authors' state dict; every size follows from the tensors.

        Parameters
        ----------
        state : dict of Tensor
        source : str
            What messages call it.
        act_fn : {"SiLU", "GELU", "ReLU"}

        Raises
        ------
        NeurodecError
            Naming every tensor that is missing, unknown or of another shape.
        """
        depth = sum(name.startswith("encode_layers.") and name.endswith(".0.weight") for name in state)
        names = ["input_layer.0.weight", *(f"encode_layers.{level}.0.weight" for level in range(depth))]
        try:
            network = cls(
                embed_dim=state["input_layer.0.weight"].shape[1],
                cond_dim=state["encode_cond_embedding.0.weight"].shape[1],
                hidden_dim=[len(state[name]) for name in names],
                time_embed_dim=state["encode_time_embedding.0.linear_1.weight"].shape[1],
                act_fn=act_fn,
            )
        except KeyError as error:
            raise NeurodecError(
                f"{source} is not a diffusion prior: it lacks {error}; give the authors' file."
            ) from error
        return take_exactly(network, state, source)


def published_widths(embed_dim: int) -> list[int]:
    """Return level widths in the published proportions: the embedding's and four halvings, none below 8."""
    return [max(embed_dim >> halvings, 8) for halvings in range(5)]
