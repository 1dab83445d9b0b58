"""Networks, prior and gallery of an in-context system on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file

from neurodec.encoders import InContextEncoder, InContextInverter
from neurodec.encoders.checkpoints import read_checkpoint, take_exactly
from neurodec.errors import NeurodecError
from neurodec.features.weights import ASSETS
from neurodec.files import atomic_path
from neurodec.linear.inversion import Gallery
from neurodec.linear.voxel_prior import PopulationPrior

SHIPPED = "neurodec/in-context"
"""The system that is included; `neurodec.embedded.in_context_networks` makes it."""
_KINDS = {"encoder": InContextEncoder, "inverter": InContextInverter}


@dataclass
class Learnt:
    """What meta-training leaves behind.

    Parameters
    ----------
    prior : PopulationPrior
        Of voxels' encoders.
    gallery : Gallery
        Of pictures.
    embedding_space : str
        Of the pictures.
    encoder : InContextEncoder, optional
    inverter : InContextInverter, optional
    """

    prior: PopulationPrior
    gallery: Gallery
    embedding_space: str
    encoder: InContextEncoder | None = None
    inverter: InContextInverter | None = None

    @property
    def sizes(self) -> dict[str, Any]:
        """Constructor arguments of both networks, None where there is none."""
        return {name: getattr(self, name) and getattr(self, name).sizes for name in _KINDS}

    def save(self, folder: Path) -> None:
        """Write ``encoder.safetensors``, ``inverter.safetensors`` and ``population.safetensors``."""
        for name in _KINDS:
            network = getattr(self, name)
            if network is not None:
                state = {
                    key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()
                }
                with atomic_path(folder / f"{name}.safetensors") as partial:
                    save_file(state, partial)
        arrays = {"prior_mean": self.prior.mean, "prior_covariance": self.prior.covariance}
        arrays |= {"gallery_mean": self.gallery.mean, "gallery_covariance": self.gallery.covariance}
        with atomic_path(folder / "population.safetensors") as partial:
            save_arrays(
                {name: np.ascontiguousarray(own, dtype=np.float32) for name, own in arrays.items()}, partial
            )

    def require_space(self, space: str) -> None:
        """Refuse embeddings of another space.

        Parameters
        ----------
        space : str

        Raises
        ------
        NeurodecError
            Naming both.
        """
        if space.removesuffix("/unit") != self.embedding_space.removesuffix("/unit"):
            raise NeurodecError(
                f"The context's embeddings are of {space}, the system was trained on {self.embedding_space}; embed the "
                "pictures in that space."
            )

    @classmethod
    def load(cls, folder: Path, sizes: dict[str, Any], embedding_space: str) -> Learnt:
        """Read what `save` wrote.

        Raises
        ------
        NeurodecError
            If a file is missing or does not fit.
        """
        networks = {}
        for name, kind in _KINDS.items():
            if sizes[name] is not None:
                state = read_checkpoint(folder / f"{name}.safetensors")
                networks[name] = take_exactly(kind(**sizes[name]), state, str(folder)).eval()
        arrays = load_arrays(folder / "population.safetensors")
        arrays = {name: values.astype(np.float64) for name, values in arrays.items()}
        prior = PopulationPrior(arrays["prior_mean"], arrays["prior_covariance"])
        gallery = Gallery(arrays["gallery_mean"], arrays["gallery_covariance"])
        return cls(prior, gallery, embedding_space, **networks)


def start_folder(start: str | Path) -> Path:
    """Return the folder of a system: a path, or that of the package for ``neurodec/in-context``."""
    return ASSETS / "in-context" if str(start) == SHIPPED else Path(start)
