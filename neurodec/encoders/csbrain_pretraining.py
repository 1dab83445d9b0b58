"""CSBrain without labels: it fills in hidden patches of recordings, of several montages at once."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from neurodec.encoders.csbrain_attention import region_attention
from neurodec.encoders.csbrain_backbone import CSBrainBackbone, Initialisation, Layout, TemporalLayout
from neurodec.encoders.csbrain_heads import hidden_errors
from neurodec.encoders.csbrain_regions import Montage
from neurodec.errors import NeurodecError

Target = Literal["corrected", "published"]


class CSBrainPretraining(nn.Module):
    """The backbone with a linear layer that gives the samples of every patch.

    Parameters
    ----------
    montages : dict of list of str
        Space to the names of its channels; one set of weights reads all.
    n_times : int
        Samples of a window, a multiple of `patch_size`.
    sfreq : float
        Hz; 200, or what makes a patch last a second.
    regions : dict or str, optional
        A table of regions, or the name of a published one; the rule of names by default.
    hidden_share : float
        Probability that a patch is hidden.
    target : {"corrected", "published"}
        The release compares what it finds with other channels' samples; see `hidden_errors`.
    patch_size, n_layers, n_heads, ffn_dim, dropout, temporal_layout, initialisation
        See `CSBrainBackbone`.

    Notes
    -----
    Responses are microvolts / 100 and are never scaled. Patches are hidden anew in every step, and always alike when
    validated.
    """

    own_scale = True

    def __init__(
        self,
        montages: dict[str, list[str]],
        n_times: int,
        sfreq: float = 200.0,
        regions: dict[str, list[str]] | str | None = None,
        hidden_share: float = 0.5,
        target: Target = "corrected",
        patch_size: int = 200,
        n_layers: int = 12,
        n_heads: int = 8,
        ffn_dim: int = 800,
        dropout: float = 0.1,
        temporal_layout: TemporalLayout = "transposed",
        initialisation: Initialisation = "scaled",
    ) -> None:
        super().__init__()
        if n_times % patch_size or round(sfreq) != patch_size:
            raise NeurodecError(
                f"Windows have {n_times} samples at {sfreq:g} Hz, and patches {patch_size} samples of one second; cut "
                f"windows of whole seconds at {patch_size} Hz."
            )
        if not 0 < hidden_share < 1:
            raise NeurodecError(f"`hidden_share` is {hidden_share:g}; give a share between 0 and 1.")
        self.spaces, self.patch_size = list(montages), patch_size
        self.hidden_share, self.target = hidden_share, target
        self.layouts = nn.ModuleList(Layout(Montage.of(names, regions)) for names in montages.values())
        first = self.layouts[0].montage
        self.backbone = CSBrainBackbone(
            first, patch_size, n_layers, n_heads, ffn_dim, dropout, temporal_layout, initialisation
        )
        # As published the first errors are of the size of the tokens; a sane start begins with the mean.
        self.norm = nn.LayerNorm(patch_size) if initialisation == "scaled" else nn.Identity()
        self.out = nn.Linear(patch_size, patch_size)
        if initialisation == "scaled":
            nn.init.zeros_(self.out.weight)
            nn.init.zeros_(self.out.bias)

    def forward(self, response: Tensor, *, space: str) -> dict[str, Tensor]:
        """Hide patches, and return for every window the squared error over them and their number of samples."""
        x = response.unflatten(-1, (-1, self.patch_size))
        hidden = self._drawn(x)
        found = self.restore(response, hidden, space).unflatten(-1, (-1, self.patch_size))
        order = self._layout(space).order if self.target == "published" else None
        squared, n_samples = hidden_errors(found, x, hidden, order)
        return {"_squared": squared, "_hidden": n_samples}

    def restore(self, response: Tensor, hidden: Tensor, space: str) -> Tensor:
        """Return all samples (B, C, T) as the model gives them; `hidden` (B, C, P) is True where it may not look."""
        x = response.unflatten(-1, (-1, self.patch_size))
        return self.out(self.norm(self.backbone(x, hidden, self._layout(space)))).flatten(-2)

    def region_attention(self, response: Tensor, space: str) -> tuple[Tensor, list[str]]:
        """Return which regions attend which; see `neurodec.encoders.csbrain_attention.region_attention`."""
        x = response.unflatten(-1, (-1, self.patch_size))
        return region_attention(self.backbone, x, self._layout(space))

    def _layout(self, space: str) -> Layout:
        if space not in self.spaces:
            raise NeurodecError(
                f"The model was trained on {', '.join(self.spaces)}, not on {space}; name one of these."
            )
        return self.layouts[self.spaces.index(space)]

    def _drawn(self, x: Tensor) -> Tensor:
        shape = x.shape[:3]
        if self.training:
            return torch.rand(shape, device=x.device) < self.hidden_share
        same = torch.Generator().manual_seed(0)
        return (torch.rand(shape, generator=same) < self.hidden_share).to(x.device)
