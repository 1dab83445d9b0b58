"""CSBrain without labels: it fills in hidden patches of recordings, of several montages at once."""

from __future__ import annotations

from torch import Tensor, nn

from neurodec.encoders.csbrain.backbone import CSBrainBackbone, Initialisation, Layout, TemporalLayout
from neurodec.encoders.csbrain.brain_regions import Montage
from neurodec.encoders.csbrain.region_attention import region_attention
from neurodec.errors import NeurodecError


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
    patch_size, n_layers, n_heads, ffn_dim, dropout, temporal_layout, initialisation
        See `CSBrainBackbone`.

    Notes
    -----
    Responses are microvolts / 100 and are never scaled. What is hidden is drawn by
    `neurodec.training.HiddenPatchesObjective`.
    """

    own_scale = True

    def __init__(
        self,
        montages: dict[str, list[str]],
        n_times: int,
        sfreq: float = 200.0,
        regions: dict[str, list[str]] | str | None = None,
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
        self.spaces, self.patch_size = list(montages), patch_size
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

    def forward(self, response: Tensor, *, space: str, mask: Tensor | None = None) -> dict[str, Tensor]:
        """Return all samples as the model gives them.

        Parameters
        ----------
        response : Tensor, shape (B, n_chans, n_times)
        space : str
        mask : Tensor of bool, shape (B, n_chans, n_patches), optional
            True where the model may not look.

        Returns
        -------
        dict of Tensor
            `patches`, shape (B, n_chans, n_times).
        """
        x = response.unflatten(-1, (-1, self.patch_size))
        found = self.out(self.norm(self.backbone(x, mask, self.layout(space))))
        return {"patches": found.flatten(-2)}

    def region_attention(self, response: Tensor, space: str) -> tuple[Tensor, list[str]]:
        """Return which regions attend which; see `neurodec.encoders.csbrain.region_attention.region_attention`."""
        x = response.unflatten(-1, (-1, self.patch_size))
        return region_attention(self.backbone, x, self.layout(space))

    def layout(self, space: str) -> Layout:
        """Return how the channels of a space lie in regions."""
        if space not in self.spaces:
            raise NeurodecError(
                f"The model was trained on {', '.join(self.spaces)}, not on {space}; name one of these."
            )
        return self.layouts[self.spaces.index(space)]
