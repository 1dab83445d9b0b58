"""NeuroBridge's encoders: EEG or MEG epochs to a space that brain and picture share.

NeuroBridge (2026), AAAI: four encoders with one projector behind each. Its picture side, which has a projector of its
own, is `neurodec.training.SharedSpaceObjective`; its degraded views are `neurodec.features.OpenClip(views=...)`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from neurodec.encoders.atm import sinusoid
from neurodec.encoders.checkpoints import read_checkpoint, take_exactly
from neurodec.encoders.shallow_conv import N_FILTERS, Projector, ShallowConv, dense, n_positions_of
from neurodec.errors import NeurodecError

Backbone = Literal["eegproject", "tsconv", "eegnet", "transformer"]
ProjectorKind = Literal["linear", "mlp", "direct"]
_WIDTH, _N_HEADS, _N_LAYERS, _FEED = 128, 8, 4, 512


class NeuroBridge(nn.Module):
    """An encoder and the brain's projector into the shared space.

    Parameters
    ----------
    n_chans, n_times : int
        Size of a response.
    n_outputs : int
        Width of the encoder's features, that of the picture's.
    backbone : {"eegproject", "tsconv", "eegnet", "transformer"}
        "eegproject" is published for 17 channels within a subject, "tsconv" for all others.
    projector : {"linear", "mlp", "direct"}
        Into the shared space; "direct" is none.
    projector_dim : int
        Width of the shared space.
    projector_hidden : int, optional
        Width of the hidden layer of "mlp"; that of the features by default.

    Raises
    ------
    NeurodecError
        If the window is too short for the backbone.

    Examples
    --------
    >>> import torch
    >>> from neurodec import NeuroBridge
    >>> NeuroBridge(n_chans=17, n_times=250, n_outputs=1024, projector="direct")(torch.randn(2, 17, 250)).shape
    torch.Size([2, 1024])
    """

    def __init__(
        self,
        n_chans: int,
        n_times: int,
        n_outputs: int = 1024,
        backbone: Backbone = "tsconv",
        projector: ProjectorKind = "linear",
        projector_dim: int = 512,
        projector_hidden: int | None = None,
    ) -> None:
        super().__init__()
        self.backbone = _BACKBONES[backbone](n_chans, n_times, n_outputs)
        self.projector = shared_projector(projector, n_outputs, projector_dim, projector_hidden)

    def forward(self, response: Tensor) -> Tensor:
        """Return responses (B, n_chans, n_times) in the shared space (B, projector_dim), not normalised.

        Parameters
        ----------
        response : Tensor
            Shape (B, n_chans, n_times).
        """
        return self.projector(self.backbone(response))

    @classmethod
    def load_published(cls, path: str | Path, n_chans: int | None = None) -> NeuroBridge:
        """Read the authors' checkpoint; the backbone and its sizes follow from the tensors.

        Parameters
        ----------
        path : str or Path
        n_chans : int, optional
            Of "eegproject" (17 as published), whose tensors tell only the product of channels and samples.

        Raises
        ------
        NeurodecError
            Naming every tensor that is missing, unknown or of another shape.
        """
        state, projector = read_checkpoint(path), {}
        if Path(path).suffix != ".safetensors":
            whole = torch.load(path, "cpu", weights_only=True)
            projector = whole.get("eeg_projector_state_dict", {}) if isinstance(whole, dict) else {}
        return cls.from_published(state, projector, str(path), n_chans)

    @classmethod
    def from_published(
        cls, state: dict[str, Tensor], projector: dict[str, Tensor], source: str, n_chans: int | None = None
    ) -> NeuroBridge:
        """Build the model from the authors' state dicts; see `load_published`.

        Parameters
        ----------
        state, projector : dict of Tensor
            Of the encoder, and of the brain's projector.
        source : str
        n_chans : int, optional
            See `load_published`.
        """
        kind = next((name for name, key in _FIRST_KEYS.items() if key in state), None)
        if kind is None:
            raise NeurodecError(f"{source} is not a checkpoint of NeuroBridge; give the authors' file.")
        if kind == "eegproject" and n_chans is None:
            raise NeurodecError(
                f"{source} holds `eegproject`, whose tensors do not tell the channels; give `n_chans` "
                "(17 as published)."
            )
        try:
            sizes = _sizes(kind, state, n_chans)
        except KeyError as error:
            raise NeurodecError(
                f"{source} lacks the tensor {error}; give the authors' whole file."
            ) from error
        options, own = published_projector(projector, source)
        model = cls(**sizes, backbone=kind, **{"projector_dim": sizes["n_outputs"], **options})
        ours = {
            f"backbone.{_renamed(kind, name)}": value
            for name, value in state.items()
            if not name.endswith(".pe")
        }
        ours = dense(ours) if kind == "tsconv" else ours
        if kind == "tsconv":  # theirs flattens filter by filter, ours position by position
            weight = ours["backbone.projector.first.weight"]
            ours["backbone.projector.first.weight"] = (
                weight.unflatten(1, (N_FILTERS, -1)).transpose(1, 2).flatten(1)
            )
        ours |= {f"projector.{name}": value for name, value in own.items()}
        return take_exactly(model, ours, source)


def shared_projector(
    kind: ProjectorKind, n_inputs: int, n_outputs: int, n_hidden: int | None = None
) -> nn.Module:
    """Return a projector into the shared space; see `NeuroBridge`."""
    if kind == "direct":
        return nn.Identity()
    if kind == "linear":
        return nn.Linear(n_inputs, n_outputs)
    n_hidden = n_hidden or n_inputs
    return nn.Sequential(nn.Linear(n_inputs, n_hidden), nn.ReLU(), nn.Linear(n_hidden, n_outputs))


def published_projector(state: dict[str, Tensor], source: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the arguments of `shared_projector` for the authors' projector of either side, and its tensors.

    Parameters
    ----------
    state : dict of Tensor
        ``linear.*``; ``mlp.0.*`` and ``mlp.2.*``; or nothing, for "direct".
    source : str
        For messages.

    Returns
    -------
    options : dict
        `projector`, `projector_dim` and `projector_hidden`, as `NeuroBridge` takes them.
    tensors : dict of Tensor
        By our names.

    Raises
    ------
    NeurodecError
        If there are other tensors.
    """
    if not state:
        return {"projector": "direct"}, {}
    kind, last = ("linear", "linear.") if "linear.weight" in state else ("mlp", "mlp.2.")
    first = state.get(f"{last}weight" if kind == "linear" else "mlp.0.weight")
    if first is None or f"{last}weight" not in state:
        raise NeurodecError(
            f"{source} has a projector of {', '.join(sorted(state))}, which is none of NeuroBridge's; give the "
            "authors' file."
        )
    options = {"projector": kind, "projector_dim": len(state[f"{last}weight"])}
    if kind == "mlp":
        options["projector_hidden"] = len(first)
    return options, {name.removeprefix(f"{kind}."): value for name, value in state.items()}


class EEGProject(nn.Module):
    """A projector on all samples of all channels."""

    def __init__(self, n_chans: int, n_times: int, n_outputs: int) -> None:
        super().__init__()
        self.projector = Projector(n_chans * n_times, n_outputs, 0.3)

    def forward(self, response: Tensor) -> Tensor:
        """Return (B, n_outputs)."""
        return self.projector(response.flatten(1))


class TSConv(nn.Module):
    """NICE's convolution, with a projector."""

    def __init__(self, n_chans: int, n_times: int, n_outputs: int) -> None:
        super().__init__()
        self.conv = ShallowConv(n_chans, 0.5)
        self.projector = Projector(N_FILTERS * n_positions_of(n_times, "TSConv"), n_outputs, 0.5)

    def forward(self, response: Tensor) -> Tensor:
        """Return (B, n_outputs)."""
        return self.projector(self.conv(response))


class EEGNetBackbone(nn.Module):
    """NeuroBridge's EEGNet: temporal, spatial and again temporal convolution, with a projector."""

    def __init__(self, n_chans: int, n_times: int, n_outputs: int) -> None:
        super().__init__()
        n_positions = (n_times - 63) // 2 - 15
        if n_positions < 1:
            raise NeurodecError(
                f"EEGNet needs windows of at least 95 samples, these have {n_times}; lengthen the epochs."
            )
        self.layers = nn.Sequential(
            nn.Conv2d(1, 8, (1, 64)),
            nn.BatchNorm2d(8),
            nn.Conv2d(8, 16, (n_chans, 1)),
            nn.BatchNorm2d(16),
            nn.ELU(),
            nn.AvgPool2d((1, 2)),
            nn.Dropout(0.5),
            nn.Conv2d(16, 16, (1, 16)),
            nn.BatchNorm2d(16),
            nn.ELU(),
            nn.Dropout2d(0.5),
        )
        self.projector = Projector(16 * n_positions, n_outputs, 0.3)

    def forward(self, response: Tensor) -> Tensor:
        """Return (B, n_outputs)."""
        return self.projector(self.layers(response[:, None]).flatten(1))


class EEGTransformer(nn.Module):
    """A transformer over samples, averaged over time."""

    def __init__(self, n_chans: int, n_times: int, n_outputs: int) -> None:
        super().__init__()
        self.input = nn.Linear(n_chans, _WIDTH)
        self.register_buffer("positions", sinusoid(n_times, _WIDTH), persistent=False)
        layer = nn.TransformerEncoderLayer(_WIDTH, _N_HEADS, _FEED, 0.1, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, _N_LAYERS, enable_nested_tensor=False)
        self.output = nn.Linear(_WIDTH, n_outputs)

    def forward(self, response: Tensor) -> Tensor:
        """Return (B, n_outputs)."""
        tokens = self.input(response.transpose(1, 2)) + self.positions
        return self.output(self.layers(tokens).mean(dim=1))


_BACKBONES = {
    "eegproject": EEGProject,
    "tsconv": TSConv,
    "eegnet": EEGNetBackbone,
    "transformer": EEGTransformer,
}
_FIRST_KEYS = {
    "eegproject": "model.0.weight",
    "tsconv": "tsconv.0.weight",
    "eegnet": "backbone.0.weight",
    "transformer": "input_proj.weight",
}
_PROJECTOR = {"0.": "projector.first.", "1.f.1.": "projector.second.", "2.": "projector.norm."}
_RENAMES = {
    "eegproject": {f"model.{theirs}": ours for theirs, ours in _PROJECTOR.items()},
    "tsconv": {
        "tsconv.0.": "conv.temporal.",
        "tsconv.2.": "conv.norm1.",
        "tsconv.4.": "conv.spatial.",
        "tsconv.5.": "conv.norm2.",
        "projection.": "conv.mix.",
        **{f"proj_eeg.{theirs}": ours for theirs, ours in _PROJECTOR.items()},
    },
    "eegnet": {"backbone.": "layers.", **{f"project.{theirs}": ours for theirs, ours in _PROJECTOR.items()}},
    "transformer": {"input_proj.": "input.", "transformer_encoder.": "layers.", "fc_out.": "output."},
}


def _renamed(kind: str, name: str) -> str:
    for theirs, ours in _RENAMES[kind].items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name


def _sizes(kind: str, state: dict[str, Tensor], n_chans: int | None) -> dict[str, Any]:
    """Return channels, samples and outputs as the tensors tell them."""
    first = {"eegproject": "model.0.weight", "tsconv": "proj_eeg.0.weight", "eegnet": "project.0.weight"}
    if kind == "transformer":
        n_times = state["pos_encoder.pe"].shape[1] if "pos_encoder.pe" in state else 250
        return {
            "n_chans": state["input_proj.weight"].shape[1],
            "n_times": n_times,
            "n_outputs": len(state["fc_out.bias"]),
        }
    n_outputs, n_inputs = state[first[kind]].shape
    if kind == "eegproject":
        return {"n_chans": n_chans, "n_times": n_inputs // n_chans, "n_outputs": n_outputs}
    if kind == "tsconv":
        n_times = (n_inputs // N_FILTERS - 1) * 5 + 75
        return {"n_chans": state["tsconv.4.weight"].shape[2], "n_times": n_times, "n_outputs": n_outputs}
    n_times = 2 * (n_inputs // 16 + 15) + 63
    return {"n_chans": state["backbone.2.weight"].shape[2], "n_times": n_times, "n_outputs": n_outputs}
