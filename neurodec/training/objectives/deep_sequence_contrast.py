"""The contrastive loss of sequences whose targets pass through trained convolutions: "deep mel"."""

from __future__ import annotations

from torch import Tensor, nn

from neurodec.encoders.simple_conv import convolutions
from neurodec.errors import NeurodecError
from neurodec.training.objectives.sequence_contrast import SequenceContrast


class DeepSequenceContrast(SequenceContrast):
    """`SequenceContrast` with targets that pass through dilated convolutions, which are trained with the encoder.

    The encoder's output is as wide as theirs (`n_features` of `SimpleConv`).

    Parameters
    ----------
    target : str
        A sequence, such as `neurodec.features.Mel`.
    heads : dict of list of int, optional
        Target to shape; filled in.
    width : int
        Of what is compared.
    hidden, depth : int
        Width and number of the convolutions.
    distinct, negatives, pool_size
        See `SequenceContrast`.

    References
    ----------
    Défossez et al. (2023), Nature Machine Intelligence 5:1097, Methods, "deep mel".
    """

    def __init__(
        self,
        target: str = "audio",
        *,
        heads: dict[str, list[int]] | None = None,
        width: int = 768,
        hidden: int = 320,
        depth: int = 10,
        distinct: bool = False,
        negatives: int = 0,
        pool_size: int | None = None,
    ) -> None:
        super().__init__(target, distinct=distinct, negatives=negatives, pool_size=pool_size)
        shape = (heads or {}).get(target, [1, 1])
        if len(shape) != 2:
            raise NeurodecError(
                f"DeepSequenceContrast reads sequences (n_features, n_times), and the target {target} has the shape "
                f"{tuple(shape)}; take a target over time."
            )
        self.network = convolutions([shape[0], *[hidden] * (depth - 1), width], nn.ReLU)

    def compared(self, targets: Tensor) -> Tensor:
        """Return what is compared of targets, shape (n, width, n_times).

        Parameters
        ----------
        targets : Tensor, shape (n, n_features, n_times)
        """
        for block in self.network:
            targets = block(targets)
        return targets

    def project(self, name: str, targets: Tensor) -> Tensor:
        """Return what is compared of targets; see `Objective.project`."""
        return super().project(name, self.compared(targets) if name == self.head else targets)
