"""CSBrain (Zhou et al. 2025, arXiv 2506.23075): an EEG foundation model, for any montage and any length."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from neurodec.encoders.checkpoints import read_checkpoint, take_exactly
from neurodec.encoders.csbrain.backbone import (
    CSBrainBackbone,
    Initialisation,
    TemporalLayout,
    load_backbone,
)
from neurodec.encoders.csbrain.brain_regions import Montage
from neurodec.encoders.csbrain.output_heads import (
    Activation,
    AttentionHead,
    FlattenHead,
    PooledHead,
    SequenceHead,
    published_head,
)
from neurodec.encoders.csbrain.region_attention import region_attention
from neurodec.errors import NeurodecError, reading
from neurodec.files import atomic_path, read_json, write_json
from neurodec.preprocessing.channels import HUNDRED_MICROVOLTS, standard_positions
from neurodec.preprocessing.electrodes import modern_name
from neurodec.preprocessing.splines import spline_matrix

Head = Literal["pooled", "attention", "flatten", "sequence"]
Fill = Literal["stretch", "pad"]


class CSBrain(nn.Module):
    """The foundation model with a head, as an encoder, a classifier or a regressor.

    Parameters
    ----------
    n_chans, n_times : int
        Of the responses.
    n_outputs : int
        Classes, or the width of an embedding.
    sfreq : float
        Hz.
    ch_names : list of str, optional
        Names of the channels; needed, unless `chs_info` has them.
    chs_info : list of dict, optional
        As ``mne.Info["chs"]`` and braindecode have them, with `ch_name`.
    regions : dict or str, optional
        A table of regions, or the name of a published one; the rule of names by default, and of places where `chs_info`
        has them. See `Montage.of`.
    interpolate_to : list of str, optional
        Channels of another montage, such as that of the pre-training, to which the recording is brought by spherical
        splines before it is read; `regions` are then of these.
    head : {"pooled", "attention", "flatten", "sequence"}
        The published one flattens all tokens, and is often larger than the backbone; of sleep a sequence of epochs is
        published, whose head gives the classes of each.
    fill : {"stretch", "pad"}
        What makes windows whole numbers of seconds: resampling to the nearest, or zeros at the end.
    scale : float, optional
        What responses are multiplied with. Weights were pre-trained on microvolts / 100, of size 0.1 or so: by default
        responses in that unit are taken as they are, and others, which come whitened or otherwise of size 1, are
        divided by 10.
    units : str, optional
        Of the responses; ``100 uV`` are microvolts / 100.
    start : str, optional
        A published checkpoint, or a folder that `save_pretrained` wrote, whose backbone is taken; a published one needs
        ``temporal_layout: published``.
    sequence : int
        Epochs in a window, of the head "sequence"; `n_outputs` counts the classes of all.
    head_dropout : float
        Of the head; the backbone's is `dropout`.
    head_hidden, head_activation
        Of the head "flatten"; see `neurodec.encoders.csbrain.output_heads.FlattenHead`.
    patch_size, n_layers, n_heads, ffn_dim, dropout, temporal_layout, initialisation
        See `CSBrainBackbone`.

    Raises
    ------
    NeurodecError
        If a channel has no known region, or the checkpoint does not fit.
    """

    def __init__(
        self,
        n_chans: int,
        n_times: int,
        n_outputs: int,
        sfreq: float = 200.0,
        ch_names: list[str] | None = None,
        chs_info: list[dict[str, Any]] | None = None,
        regions: dict[str, list[str]] | str | None = None,
        interpolate_to: list[str] | None = None,
        head: Head = "pooled",
        fill: Fill = "stretch",
        scale: float | None = None,
        units: str | None = None,
        start: str | None = None,
        sequence: int = 1,
        head_dropout: float = 0.1,
        head_hidden: list[int] | None = None,
        head_activation: Activation = "elu",
        patch_size: int = 200,
        n_layers: int = 12,
        n_heads: int = 8,
        ffn_dim: int = 800,
        dropout: float = 0.1,
        temporal_layout: TemporalLayout = "transposed",
        initialisation: Initialisation = "scaled",
    ) -> None:
        super().__init__()
        names, places = _names(ch_names, chs_info, n_chans), _places(chs_info)
        matrix = None
        if interpolate_to is not None:
            matrix, names, places = _interpolation(names, places, interpolate_to), list(interpolate_to), None
        montage = Montage.of(names, regions, places)
        self.config: dict[str, Any] = {
            "n_chans": n_chans, "n_times": n_times, "n_outputs": n_outputs, "sfreq": sfreq,
            "ch_names": _names(ch_names, chs_info, n_chans), "chs_info": chs_info, "regions": regions,
            "interpolate_to": interpolate_to, "head": head, "fill": fill, "scale": scale, "units": units,
            "sequence": sequence,
            "head_dropout": head_dropout, "head_hidden": head_hidden, "head_activation": head_activation,
            "patch_size": patch_size,
            "n_layers": n_layers, "n_heads": n_heads, "ffn_dim": ffn_dim, "dropout": dropout,
            "temporal_layout": temporal_layout, "initialisation": initialisation,
        }  # fmt: skip
        self.register_buffer("interpolation", matrix, persistent=False)
        self.own_scale = units == HUNDRED_MICROVOLTS
        self.scale = scale if scale is not None else 1.0 if self.own_scale else 0.1
        self.patch_size = patch_size
        self.backbone = CSBrainBackbone(
            montage, patch_size, n_layers, n_heads, ffn_dim, dropout, temporal_layout, initialisation
        )
        if start is not None:
            self.start_from(start)
        self.n_samples = n_samples_of(n_times, sfreq, patch_size, fill)
        n_patches, over = divmod(-(-self.n_samples // patch_size), sequence)
        if over or n_outputs % sequence or (head == "sequence") != (sequence > 1):
            raise NeurodecError(
                f"A window of {self.n_samples / patch_size:g} s with {n_outputs} outputs does not divide into a "
                f"`sequence` of {sequence} for the head {head}; set both, and cut windows of as many epochs."
            )
        self.sequence = sequence
        sizes = (len(names), n_patches, patch_size) if head in ("flatten", "sequence") else (patch_size,)
        kinds = {
            "pooled": PooledHead,
            "attention": AttentionHead,
            "flatten": FlattenHead,
            "sequence": SequenceHead,
        }
        options = {"hidden": head_hidden, "activation": head_activation} if head == "flatten" else {}
        self.head = kinds[head](*sizes, n_outputs // sequence, dropout=head_dropout, **options)

    def forward(self, response: Tensor) -> Tensor:
        """Return (B, n_outputs), or of sequences (B, sequence, n_outputs / sequence), from (B, n_chans, n_times).

        Parameters
        ----------
        response : Tensor
            Shape (B, n_chans, n_times).
        """
        return self.head(self.tokens(response))

    def tokens(self, response: Tensor) -> Tensor:
        """Return tokens ([B, sequence or] B, n_chans, n_patches, patch_size), channels in the user's order.

        Parameters
        ----------
        response : Tensor
            Shape (B, n_chans, n_times).
        """
        x = self.patches(response)
        if self.sequence == 1:
            return self.backbone(x)
        epochs = x.unflatten(2, (self.sequence, -1)).transpose(1, 2)  # (B, L, C, P, S)
        return self.backbone(epochs.flatten(0, 1)).unflatten(0, (-1, self.sequence))

    def patches(self, response: Tensor) -> Tensor:
        """Return the responses at 200 Hz, scaled and cut to patches (B, n_chans, n_patches, patch_size).

        Parameters
        ----------
        response : Tensor
            Shape (B, n_chans, n_times).
        """
        if self.interpolation is not None:
            response = self.interpolation.to(response.dtype) @ response
        x = self.scale * resampled(response, self.n_samples)
        return F.pad(x, (0, -x.shape[-1] % self.patch_size)).unflatten(-1, (-1, self.patch_size))

    def region_attention(self, response: Tensor, space: str) -> tuple[Tensor, list[str]]:
        """Return which regions attend which; see `neurodec.encoders.csbrain.region_attention.region_attention`.

        Parameters
        ----------
        response : Tensor
            Shape (B, n_chans, n_times).
        space : str
            Name of the space.
        """
        return region_attention(self.backbone, self.patches(response))

    def start_from(self, start: str) -> None:
        """Take the backbone of a published checkpoint, or of a folder that `save_pretrained` or a fit wrote.

        Parameters
        ----------
        start : str
            File or folder of weights.

        Raises
        ------
        NeurodecError
            If it does not fit, whole.
        """
        _take_backbone(self.backbone, start, self.config["temporal_layout"])

    @classmethod
    def load_published(
        cls,
        path: str | Path,
        ch_names: list[str],
        regions: dict[str, list[str]] | str | None = None,
        activation: Activation = "elu",
        sequence: int = 20,
        n_heads: int = 8,
    ) -> CSBrain:
        """Read an authors' fine-tuned checkpoint, backbone and head; sizes follow from the tensors.

        Parameters
        ----------
        path : str or Path
        ch_names : list of str
            Channels in the order in which the model read them.
        regions : dict or str, optional
            As for `CSBrain`: the published tables differ between data sets.
        activation : {"elu", "gelu"}
            Of the head; "gelu" for mental arithmetic.
        sequence : int
            Epochs in a window, for the head of sleep.
        n_heads : int
            Of the attention.

        Raises
        ------
        NeurodecError
            Naming every tensor that is missing, unknown or of another shape.
        """
        montage = Montage.of(ch_names, regions)
        backbone, state = load_backbone(read_checkpoint(path), montage, str(path), n_heads)
        width = backbone.patch_size
        head, n_patches = published_head(state, len(ch_names), width, str(path), activation)
        if isinstance(head, SequenceHead):
            n_epochs, last = sequence, head.classifier
            options: dict[str, Any] = {"head": "sequence", "sequence": sequence}
        else:
            *layers, last = [layer for layer in head.feed_forward if isinstance(layer, nn.Linear)]
            n_epochs = 1
            options = {"head": "flatten", "head_hidden": [layer.out_features for layer in layers]}
        model = cls(
            len(ch_names),
            n_patches * width * n_epochs,
            last.out_features * n_epochs,
            sfreq=float(width),  # a patch is a second
            ch_names=ch_names,
            regions=regions,
            units=HUNDRED_MICROVOLTS,
            **options,
            head_activation=activation,
            patch_size=width,
            n_layers=len(backbone.layers),
            n_heads=n_heads,
            ffn_dim=backbone.layers[0].linear1.out_features,
            temporal_layout="published",
        )
        take_exactly(model.backbone, backbone.state_dict(), str(path))
        take_exactly(model.head, head.state_dict(), str(path))
        return model.eval()

    def reset_head(self, n_outputs: int) -> None:
        """Put a new head of the same kind, for another number of outputs, on the backbone.

        Parameters
        ----------
        n_outputs : int
            Width of the new head.
        """
        fresh = type(self)(**{**self.config, "n_outputs": n_outputs})
        self.head, self.config = fresh.head.to(next(self.parameters()).device), fresh.config

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``config.json`` (with the table of regions) and ``model.safetensors``.

        Parameters
        ----------
        folder : str or Path
        """
        with atomic_path(folder) as partial:
            partial.mkdir()
            state = {name: values.detach().cpu().contiguous() for name, values in self.state_dict().items()}
            save_file(state, partial / "model.safetensors")
            write_json(
                partial / "config.json", {**self.config, "montage": self.backbone.layout.montage.described()}
            )

    @classmethod
    def from_pretrained(cls, folder: str | Path, **changes: Any) -> CSBrain:
        """Read a folder that `save_pretrained` wrote.

        Parameters
        ----------
        folder : str or Path
        **changes
            Other arguments, such as `ch_names` of another recording; with another `n_outputs`, or another head or
            length, the head begins anew.

        Raises
        ------
        NeurodecError
            If the folder is missing or damaged.
        """
        config = read_json(Path(folder) / "config.json")
        config.pop("montage", None)
        if "ch_names" in changes or "chs_info" in changes:
            names = changes.get("ch_names") or [one["ch_name"] for one in changes["chs_info"]]
            changes.setdefault("n_chans", len(names))
            changes.setdefault("regions", None)
        arguments = {**config, **changes}
        with reading(folder, "CSBrain", "its config.json has other arguments, so save the model again"):
            model, state = cls(**arguments), read_checkpoint(Path(folder) / "model.safetensors")
        keeps = all(
            arguments[name] == config[name]
            for name in (
                "n_outputs",
                "head",
                *(["n_chans", "n_times"] if config["head"] in ("flatten", "sequence") else []),
            )
        )
        if keeps:
            return take_exactly(model, state, str(folder)).eval()
        take_exactly(model.backbone, _of_backbone(state), str(folder))
        return model.eval()


def n_samples_of(n_times: int, sfreq: float, patch_size: int, fill: Fill) -> int:
    """Return the samples that a window has once a patch lasts a second.

    Parameters
    ----------
    n_times : int
    sfreq : float
        Hz.
    patch_size : int
        Samples of a patch.
    fill : {"stretch", "pad"}
        With "stretch" they are a multiple of `patch_size`, and time runs a little faster or slower; with "pad" what the
        duration gives, and zeros follow later.
    """
    n_exact = max(1, round(n_times * patch_size / sfreq))
    return max(1, round(n_exact / patch_size)) * patch_size if fill == "stretch" else n_exact


def resampled(x: Tensor, n: int) -> Tensor:
    """Resample the last axis to `n` samples by its Fourier series, as `scipy.signal.resample` does."""
    n_times = x.shape[-1]
    if n == n_times:
        return x
    with torch.autocast(x.device.type, enabled=False):
        spectrum = torch.fft.rfft(x.float())
        kept = spectrum[..., : min(n, n_times) // 2 + 1].clone()
        if min(n, n_times) % 2 == 0:  # the last frequency stands for both its signs
            kept[..., -1] *= 2.0 if n < n_times else 0.5
        return (torch.fft.irfft(kept, n) * (n / n_times)).to(x.dtype)


def _names(
    ch_names: Sequence[str] | None, chs_info: Sequence[Mapping[str, Any]] | None, n_chans: int
) -> list[str]:
    names = list(ch_names) if ch_names is not None else [str(one["ch_name"]) for one in chs_info or []]
    if len(names) != n_chans:
        raise NeurodecError(
            f"CSBrain needs the names of the {n_chans} channels to know their regions, and {len(names)} are given; "
            "pass `ch_names`, or braindecode's `chs_info`."
        )
    return names


def _places(chs_info: Sequence[Mapping[str, Any]] | None) -> list[list[float]] | None:
    """Return the places of channels, or None if one is unknown."""
    places = [list(one.get("loc", [])[:3]) for one in chs_info or []]
    known = [
        len(place) == 3 and all(math.isfinite(value) for value in place) and any(place) for place in places
    ]
    return places if places and all(known) else None


def _interpolation(names: list[str], places: list[list[float]] | None, wanted: Sequence[str]) -> Tensor:
    """Return the matrix (n_wanted, n_chans) of spherical splines; standard places where those of a cap are unknown."""
    known = places or standard_positions([modern_name(name) for name in names])
    targets = standard_positions([modern_name(name) for name in wanted])
    if known is None or targets is None:
        raise NeurodecError(
            "Interpolation needs the places of all channels; give `chs_info` with them, or names of the 10-05 system."
        )
    return torch.from_numpy(spline_matrix(np.array(known), np.array(targets))).float()


def _of_backbone(state: dict[str, Tensor]) -> dict[str, Tensor]:
    prefix = "backbone."
    return {name.removeprefix(prefix): own for name, own in state.items() if name.startswith(prefix)}


def _take_backbone(model: CSBrainBackbone, start: str, layout: TemporalLayout) -> None:
    """Take a backbone's weights from a folder of ours or a published checkpoint; all of them, or none."""
    folder = Path(start)
    if (folder / "config.json").is_file():
        told = read_json(folder / "config.json")
        if "encoder" in told:  # of a pre-training; defaults are not written
            told = {"temporal_layout": "transposed", **told["encoder"].get("init_args", {})}
        if told.get("temporal_layout") != layout:
            raise NeurodecError(
                f"{start} was trained with temporal_layout: {told.get('temporal_layout')}, and {layout} is asked for; "
                "its weights mean something else there, so take the same."
            )
        take_exactly(model, _of_backbone(read_checkpoint(folder / "model.safetensors")), start)
        return
    if layout != "published":
        raise NeurodecError(
            f"{start} is a published checkpoint, whose temporal tokenizer reinterprets memory; set temporal_layout: "
            "published, which its weights need."
        )
    loaded, heads = load_backbone(
        read_checkpoint(start), model.layout.montage, start, model.layers[0].n_heads
    )
    take_exactly(model, loaded.state_dict(), start)
    print(
        f"  {start}: all {len(loaded.state_dict())} tensors of the backbone loaded, {len(heads)} of heads left out"
    )
