"""NICE: EEG or MEG epochs to CLIP image embeddings through a temporal-spatial convolution.

Song, Liu, Li, Shi, Wang and Gao (2024), Decoding natural images from EEG for object recognition, ICLR.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from neurodec.encoders.checkpoints import read_checkpoint, take_exactly
from neurodec.encoders.shallow_conv import N_FILTERS, Projector, ShallowConv, dense, n_positions_of
from neurodec.errors import NeurodecError

_STD = 0.02


class NICE(nn.Module):
    """Shallow convolution over time, then over channels, then a projector.

    Its loss is `RetrievalObjective` with ``scale: fixed`` and ``multi_positive: false``. The published image projector
    hands its input on, and has no counterpart here.

    Parameters
    ----------
    n_chans, n_times : int
        Size of a response; at least 75 samples.
    n_outputs : int
        Width of the embedding.
    dropout : float
        After the convolution and in the projector.

    Raises
    ------
    NeurodecError
        If the window is too short for the convolution.

    Examples
    --------
    >>> import torch
    >>> from neurodec import NICE
    >>> NICE(n_chans=63, n_times=250, n_outputs=768)(torch.randn(2, 63, 250)).shape
    torch.Size([2, 768])
    """

    def __init__(self, n_chans: int, n_times: int, n_outputs: int = 768, dropout: float = 0.5) -> None:
        super().__init__()
        self.conv = ShallowConv(n_chans, dropout)
        self.projector = Projector(N_FILTERS * n_positions_of(n_times, "NICE"), n_outputs, dropout)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm1d):
                nn.init.normal_(module.weight, 1.0, _STD)
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0.0, _STD)

    def forward(self, response: Tensor) -> Tensor:
        """Embed responses (B, n_chans, n_times) to (B, n_outputs), not normalised.

        Parameters
        ----------
        response : Tensor
            Shape (B, n_chans, n_times).
        """
        return self.projector(self.conv(response))

    @classmethod
    def load_published(cls, encoder: str | Path, projector: str | Path) -> NICE:
        """Read the authors' ``Enc_eeg_cls.pth`` and ``Proj_eeg_cls.pth``; every size follows from the tensors.

        Parameters
        ----------
        encoder : str or Path
        projector : str or Path

        Raises
        ------
        NeurodecError
            Naming every tensor that is missing, unknown or of another shape.
        """
        return cls.from_published(read_checkpoint(encoder), read_checkpoint(projector), str(encoder))

    @classmethod
    def from_published(cls, encoder: dict[str, Tensor], projector: dict[str, Tensor], source: str) -> NICE:
        """Build the model from the authors' state dicts; see `load_published`.

        Parameters
        ----------
        encoder : dict of Tensor
        projector : dict of Tensor
        source : str
            Names the file in messages.
        """
        ours = {f"conv.{_renamed(name)}": value for name, value in encoder.items()}
        ours |= {f"projector.{_renamed(name)}": value for name, value in projector.items()}
        ours = dense(ours)
        try:
            n_chans = ours["conv.spatial.weight"].shape[1] // N_FILTERS
            n_outputs, n_inputs = ours["projector.first.weight"].shape
        except KeyError as error:
            raise NeurodecError(
                f"{source} is not a checkpoint of NICE: it lacks {error}; give the authors' files."
            ) from error
        n_times = (n_inputs // N_FILTERS - 1) * 5 + 75
        return take_exactly(cls(n_chans, n_times, n_outputs), ours, source)


_RENAMES = {
    "0.tsconv.0.": "temporal.",
    "0.tsconv.2.": "norm1.",
    "0.tsconv.4.": "spatial.",
    "0.tsconv.5.": "norm2.",
    "0.projection.0.": "mix.",
    "1.fn.1.": "second.",
    "0.": "first.",
    "2.": "norm.",
}


def _renamed(name: str) -> str:
    for theirs, ours in _RENAMES.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name
