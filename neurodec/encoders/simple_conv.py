"""SimpleConv, the speech decoder of Défossez, Caucheteux, Rapin, Kabeli & King (2023, Nature Machine Intelligence 5).

Spatial attention over sensor positions, a linear layer per subject, then dilated residual convolutions over time. The
output is a sequence, (B, n_features, n_times), compared with speech features of the same rate.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neurodec.encoders.checkpoints import read_checkpoint, take_exactly
from neurodec.encoders.sensor_attention import SensorAttention, flattened, invalid_of
from neurodec.errors import NeurodecError


class SimpleConv(nn.Module):
    """Responses of any montage to a sequence of features.

    Parameters
    ----------
    n_chans, n_subjects : int
    heads : dict of list of int
        Target to its shape, [n_features, n_times]; filled in. One target is predicted.
    target : str, optional
        Which one, where there are several.
    n_features : int, optional
        Width of the output, where the objective brings the target to another one; that of the target by default.
    attention_channels : int
        Virtual channels of the spatial attention; 0 leaves it out, and then all responses need `n_chans` channels.
    position_dim : int
        Size of the Fourier embedding of positions: twice a square (128, 288, 512, 2048, ...).
    attention_dropout : float
        Radius of the disc of sensors that are left out in a training step, in a layout of side 1.
    attention_per_subject : bool
        Heads of the attention for every subject.
    channel_dropout : float
        Radius of a disc of sensors whose signals are set to zero in training; sensors without position always are.
    initial_channels : int
        Width of the 1 x 1 convolution(s) after the attention; 0 leaves them out.
    initial_depth : int
        How many, with an activation in between.
    initial_activation : bool
        One after the last of them, too.
    subject_layer : "none", "input" or "hidden"
        A linear map per subject, to the width of its input or to `hidden`.
    subject_dim : int
        Width of a learned vector per subject that is appended to every time step; 0 leaves it out.
    hidden, depth, kernel_size : int
        Width, number and kernel of the convolutions.
    dilation_growth, dilation_period : int
        Dilation is ``growth ** (layer % period)``.
    batch_norm, skip : bool
        Batch normalisation, and residuals where shapes agree.
    glu : int
        After every so many convolutions a gated one; 0 for none.
    glu_context : int
        Its kernel is ``1 + 2 * glu_context``.
    activation : "gelu" or "relu"
    output : "two_layers", "linear" or "none"
        Of "none", the last convolution gives the features.

    References
    ----------
    Défossez et al. (2023), Methods, "Brain module"; options by their published names are in `from_published`.
    """

    def __init__(
        self,
        n_chans: int,
        n_subjects: int,
        heads: dict[str, list[int]],
        target: str | None = None,
        *,
        n_features: int | None = None,
        attention_channels: int = 270,
        position_dim: int = 2048,
        attention_dropout: float = 0.2,
        attention_per_subject: bool = False,
        channel_dropout: float = 0.0,
        initial_channels: int = 270,
        initial_depth: int = 1,
        initial_activation: bool = False,
        subject_layer: Literal["none", "input", "hidden"] = "input",
        subject_dim: int = 0,
        hidden: int = 320,
        depth: int = 10,
        kernel_size: int = 3,
        dilation_growth: int = 2,
        dilation_period: int = 5,
        batch_norm: bool = True,
        skip: bool = True,
        glu: int = 2,
        glu_context: int = 1,
        activation: Literal["gelu", "relu"] = "gelu",
        output: Literal["two_layers", "linear", "none"] = "two_layers",
    ) -> None:
        super().__init__()
        self.target = target or next(iter(heads))
        shape = heads[self.target]
        if len(shape) != 2:
            raise NeurodecError(
                f"SimpleConv predicts sequences (n_features, n_times), and the target {self.target} has the shape "
                f"{tuple(shape)}; take a target over time."
            )
        act = {"gelu": nn.GELU, "relu": nn.ReLU}[activation]
        self.channel_dropout, n_features, width = channel_dropout, n_features or shape[0], n_chans
        self.attention = None
        if attention_channels:
            per_subject = n_subjects if attention_per_subject else 0
            self.attention = SensorAttention(attention_channels, position_dim, attention_dropout, per_subject)
            width = attention_channels
        self.initial = None
        if initial_channels:
            layers: list[nn.Module] = []
            for place in range(initial_depth):
                layers += [act()] if place else []
                layers.append(nn.Conv1d(width if not place else initial_channels, initial_channels, 1))
            self.initial = nn.Sequential(*layers, *([act()] if initial_activation else []))
            width = initial_channels
        self.subject_layer = None
        if subject_layer != "none":
            own = hidden if subject_layer == "hidden" else width
            self.subject_layer = SubjectLayer(n_subjects, width, own)
            width = own
        self.subject_vector = nn.Embedding(n_subjects, subject_dim) if subject_dim else None
        ends = hidden if output != "none" else n_features
        self.encoder = convolutions(
            [width + subject_dim, *[hidden] * (depth - 1), ends],
            act,
            kernel_size=kernel_size,
            dilation_growth=dilation_growth,
            dilation_period=dilation_period,
            batch_norm=batch_norm,
            skip=skip,
            glu=glu,
            glu_context=glu_context,
            bare_end=output == "none",
        )
        self.final = None
        if output == "linear":
            self.final = nn.Sequential(nn.ConvTranspose1d(hidden, n_features, 1))
        elif output == "two_layers":
            self.final = nn.Sequential(
                nn.Conv1d(hidden, 2 * hidden, 1), act(), nn.ConvTranspose1d(2 * hidden, n_features, 1)
            )

    def forward(
        self, response: Tensor, subject: Tensor, *, positions: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Predict the features at every sample.

        Parameters
        ----------
        response : Tensor, shape (B, n_chans, n_times)
            Standardised and clamped.
        subject : Tensor of int64, shape (B,)
            Zero-based; -1 gets the mean over subjects.
        positions : Tensor, shape (n_chans, 3), (n_chans, 2) or (B, n_chans, 2)
            Metres in the head frame, or a layout scaled to [0, 1]; NaN where unknown. Padded channels have none.

        Returns
        -------
        dict of Tensor, shape (B, n_features, n_times)
        """
        x = self.mixed(response, subject, positions)  # (B, width, n_times)
        for block in self.encoder:
            x = block(x)
        return {self.target: x if self.final is None else self.final(x)}

    def mixed(self, response: Tensor, subject: Tensor, positions: Tensor | None = None) -> Tensor:
        """Return what the convolutions read: attention, initial layer and subject layer; see `forward`.

        Parameters
        ----------
        response : Tensor, shape (B, n_chans, n_times)
        subject : Tensor, shape (B,)
        positions : Tensor, optional
        """
        layout = None if positions is None else flattened(positions)
        x = response
        if self.channel_dropout and layout is not None:
            x = x * self._kept(layout).to(x)
        if self.attention is not None:
            if layout is None:
                raise NeurodecError(
                    "SimpleConv needs the positions of sensors; set a montage, or attention_channels: 0."
                )
            x = self.attention(x, layout, subject)
        x = x if self.initial is None else self.initial(x)
        x = x if self.subject_layer is None else self.subject_layer(x, subject)
        if self.subject_vector is not None:
            vector = of_subjects(self.subject_vector.weight, subject)  # (B, subject_dim)
            x = torch.cat([x, vector[..., None].expand(-1, -1, x.shape[-1])], dim=1)
        return x

    def _kept(self, layout: Tensor) -> Tensor:
        """Return which signals are kept, shape (n_chans, 1) or (B, n_chans, 1)."""
        kept = ~invalid_of(layout)
        if self.training:
            centre = torch.rand(2, device=layout.device)
            kept &= (layout - centre).norm(dim=-1) > self.channel_dropout
        return kept[..., None]

    @classmethod
    def from_published(
        cls,
        state: dict[str, Tensor],
        source: str,
        *,
        dilation_growth: int = 2,
        dilation_period: int = 5,
        skip: bool = True,
        gelu: bool = True,
        initial_nonlin: bool = False,
        merger_dropout: float = 0.2,
        dropout: float = 0.0,
    ) -> SimpleConv:
        """Build the network from the authors' tensors; sizes follow from them.

        Parameters
        ----------
        state : dict of Tensor
            By their published names.
        source : str
            Names the file in messages.
        dilation_growth, dilation_period, skip, gelu, initial_nonlin, merger_dropout, dropout
            Published options that tensors do not show.

        Raises
        ------
        NeurodecError
            If it is not a SimpleConv, or a tensor does not fit.
        """
        named = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
        firsts = [name for name in named if re.fullmatch(r"encoders\.\w+\.sequence\.0\.0\.weight", name)]
        if len(firsts) != 1:
            raise NeurodecError(f"{source} is not a checkpoint of SimpleConv; give the authors' file.")
        prefix = firsts[0].removesuffix("sequence.0.0.weight")
        found = _sizes(named, prefix)
        model = cls(
            **found,
            dilation_growth=dilation_growth,
            dilation_period=dilation_period,
            skip=skip,
            activation="gelu" if gelu else "relu",
            initial_activation=initial_nonlin,
            attention_dropout=merger_dropout,
            channel_dropout=dropout,
        )
        renamed = {_renamed(name, prefix): tensor for name, tensor in named.items()}
        counters = {
            name: value for name, value in model.state_dict().items() if name.endswith("batches_tracked")
        }
        return take_exactly(model, renamed | counters, source)

    @classmethod
    def load_published(cls, path: str | Path, **options: bool | float) -> SimpleConv:
        """Read a checkpoint of the authors' solver.

        Parameters
        ----------
        path : str or Path
        **options
            See `from_published`.

        Raises
        ------
        NeurodecError
            If the file is missing, damaged, or not of this network.
        """
        state = read_checkpoint(path)
        for key in ("best_state", "model", "state_dict"):
            state = state[key] if key in state and isinstance(state[key], dict) else state
        return cls.from_published(
            {name.removeprefix("0."): own for name, own in state.items()}, str(path), **options
        )


class SubjectLayer(nn.Module):
    """A linear map over channels for every subject, (B, n_in, n_times) to (B, n_out, n_times)."""

    def __init__(self, n_subjects: int, n_in: int, n_out: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.randn(n_subjects, n_in, n_out) / math.sqrt(n_in))

    def forward(self, x: Tensor, subject: Tensor) -> Tensor:
        """Map the channels of every row."""
        return of_subjects(self.weights, subject).transpose(1, 2) @ x


def of_subjects(weights: Tensor, subject: Tensor) -> Tensor:
    """Return the weights of every row's subject; those of an unknown one (-1) are the mean.

    Parameters
    ----------
    weights : Tensor, shape (n_subjects, ...)
    subject : Tensor, shape (B,)
    """
    own = weights[subject.clamp(min=0)]
    unknown = (subject < 0).view(-1, *[1] * (weights.ndim - 1))
    return torch.where(unknown, weights.mean(dim=0), own) if bool((subject < 0).any()) else own


def convolutions(
    widths: Sequence[int],
    activation: Callable[[], nn.Module],
    *,
    kernel_size: int = 3,
    dilation_growth: int = 2,
    dilation_period: int = 5,
    batch_norm: bool = True,
    skip: bool = True,
    glu: int = 2,
    glu_context: int = 1,
    bare_end: bool = True,
) -> nn.ModuleList:
    """Return dilated convolutions; the options are those of `SimpleConv`.

    Parameters
    ----------
    widths : sequence of int
        Channels before the first, and after every convolution.
    activation : callable
        Makes one.
    kernel_size, dilation_growth, dilation_period, batch_norm, skip, glu, glu_context
        See `SimpleConv`.
    bare_end : bool
        Neither normalise nor activate after the last.
    """
    blocks, depth = nn.ModuleList(), len(widths) - 1
    for layer in range(depth):
        bare = bare_end and layer == depth - 1
        blocks.append(
            Block(
                widths[layer],
                widths[layer + 1],
                kernel_size,
                dilation_growth ** (layer % dilation_period),
                None if bare else activation(),
                batch_norm and not bare,
                skip,
                glu_context if glu and (layer + 1) % glu == 0 else None,
            )
        )
    return blocks


class Block(nn.Module):
    """Dilated convolution, normalisation, activation, residual, and where asked for a gated convolution."""

    def __init__(
        self,
        n_in: int,
        n_out: int,
        kernel_size: int,
        dilation: int,
        activation: nn.Module | None,
        batch_norm: bool,
        skip: bool,
        glu_context: int | None,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv1d(
            n_in, n_out, kernel_size, dilation=dilation, padding=dilation * (kernel_size // 2)
        )
        self.norm = nn.BatchNorm1d(n_out) if batch_norm else None
        self.activation, self.skip = activation, skip and n_in == n_out
        self.gate = None
        if glu_context is not None:
            self.gate = nn.Conv1d(n_out, 2 * n_out, 1 + 2 * glu_context, padding=glu_context)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, n_out, n_times)."""
        found = self.conv(x)
        found = found if self.norm is None else self.norm(found)
        found = found if self.activation is None else self.activation(found)
        found = found + x if self.skip else found
        return found if self.gate is None else F.glu(self.gate(found), dim=1)


def _sizes(state: dict[str, Tensor], prefix: str) -> dict[str, object]:
    """Return the arguments that the published tensors show."""

    def shape(name: str) -> tuple[int, ...]:
        return tuple(state[name].shape) if name in state else ()

    heads, own = shape("merger.heads"), shape("subject_layers.weights")
    vectors, first = shape("subject_embedding.embedding.weight"), shape(f"{prefix}sequence.0.0.weight")
    depth = sum(bool(re.fullmatch(re.escape(prefix) + r"sequence\.\d+\.0\.weight", name)) for name in state)
    last, initial = shape(f"{prefix}sequence.{depth - 1}.0.weight"), shape("initial_linear.0.weight")
    gates = sorted(int(name.split(".")[-3]) for name in state if re.search(r"glus\.\d+\.0\.weight", name))
    output, n_features = "none", last[0]
    if "final.2.weight" in state:
        output, n_features = "two_layers", shape("final.2.weight")[1]
    elif "final.weight" in state:
        output, n_features = "linear", shape("final.weight")[1]
    hidden = first[0]
    return {
        "n_chans": initial[1] if initial else own[1] if own else first[1],
        "n_subjects": (own or vectors or (heads if len(heads) == 3 else (1,)))[0],
        "heads": {"audio": [n_features, 0]},
        "attention_channels": heads[-2] if heads else 0,
        "position_dim": heads[-1] if heads else 2048,
        "attention_per_subject": len(heads) == 3,
        "initial_channels": initial[0] if initial else 0,
        "initial_depth": sum(bool(re.fullmatch(r"initial_linear\.\d+\.weight", name)) for name in state),
        "subject_layer": "none" if not own else "input" if own[1] == own[2] else "hidden",
        "subject_dim": vectors[1] if vectors else 0,
        "hidden": hidden,
        "depth": depth,
        "kernel_size": first[2],
        "batch_norm": f"{prefix}sequence.0.1.weight" in state,
        "glu": gates[0] + 1 if gates else 0,
        "glu_context": shape(f"{prefix}glus.{gates[0]}.0.weight")[2] // 2 if gates else 1,
        "output": output,
    }


def _renamed(name: str, prefix: str) -> str:
    name = name.replace(prefix, "encoder.")
    name = re.sub(r"encoder\.sequence\.(\d+)\.0\.", r"encoder.\1.conv.", name)
    name = re.sub(r"encoder\.sequence\.(\d+)\.1\.", r"encoder.\1.norm.", name)
    name = re.sub(r"encoder\.glus\.(\d+)\.0\.", r"encoder.\1.gate.", name)
    name = re.sub(r"^final\.(weight|bias)$", r"final.0.\1", name)
    for old, new in (
        ("merger.", "attention."),
        ("initial_linear.", "initial."),
        ("subject_layers.", "subject_layer."),
        ("subject_embedding.embedding.", "subject_vector."),
    ):
        name = name.replace(old, new)
    return name
