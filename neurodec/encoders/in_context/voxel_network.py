"""The in-context networks at work on a whole person: all voxels, all trials, in chunks of bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from neurodec.encoders.in_context.inverter import InContextInverter
from neurodec.encoders.in_context.voxel_encoder import InContextEncoder
from neurodec.errors import NeurodecError
from neurodec.files import track
from neurodec.linear.inversion import Inversion
from neurodec.linear.voxel_encoders import Encoding, VoxelEncoders, require_context
from neurodec.linear.voxel_ridge import RidgeEncoding, solve_left_out, with_noise

TOKENS = 1 << 16
"""Tokens in a chunk by default: in the published size about 2 GB in single precision."""


class NetworkEncoding(Encoding):
    """Stage 1: encoders of voxels by one pass of a meta-trained network.

    Parameters
    ----------
    network : InContextEncoder
    tokens_at_once : int
        Pictures and registers, times voxels, of a chunk: memory is bounded by it, however many voxels there are.
    device : str
        A torch device, or "auto": the first GPU if there is one, where the trunk runs in bfloat16.
    rank : int
        Shared noise factors that are kept; see `neurodec.linear.voxel_encoders.noise_of`.

    Notes
    -----
    Noise and accuracy are reported by leave-one-out ridge, since a network cannot leave a picture out at no cost.
    """

    def __init__(
        self, network: InContextEncoder, tokens_at_once: int = TOKENS, device: str = "auto", rank: int = 10
    ) -> None:
        self.network, self.tokens_at_once, self.rank = network, tokens_at_once, rank
        self.device = _device(device)

    def encode(
        self,
        images: np.ndarray,
        responses: np.ndarray,
        voxels: Sequence[Any],
        about: dict[str, Any] | None = None,
    ) -> VoxelEncoders:
        """Read every voxel's encoder off its context; see `Encoding.encode`."""
        require_context(images, responses, self.network.n_embed)
        found = self.weights(images, responses)
        *_, residuals = solve_left_out(images, responses, RidgeEncoding().alphas)
        return with_noise(
            found[:, :-1], found[:, -1], responses, residuals, voxels, self.rank, about, len(images)
        )

    @torch.inference_mode()
    def weights(self, images: np.ndarray, responses: np.ndarray) -> np.ndarray:
        """Return weights and bias of every voxel, shape (n_voxels, n_embed + 1).

        Raises
        ------
        NeurodecError
            If a chunk does not hold a single voxel.
        """
        n_tokens = len(images) + self.network.n_registers
        per_chunk = _per_chunk(self.tokens_at_once, n_tokens, "voxel", f"{len(images)} pictures")
        network = self.network.to(self.device).eval()
        shown = torch.as_tensor(np.asarray(images), dtype=torch.float32, device=self.device)
        chunks = []
        for start in track(range(0, responses.shape[1], per_chunk), "encoding voxels"):
            part = np.ascontiguousarray(responses[:, start : start + per_chunk].T, dtype=np.float32)
            with _half(self.device):
                chunks.append(network(shown, torch.from_numpy(part).to(self.device)).float().cpu())
        return torch.cat(chunks).numpy()


class NetworkInversion(Inversion):
    """Stage 2: embeddings of trials by one pass of a meta-trained network.

    Parameters
    ----------
    network : InContextInverter
    tokens_at_once, device
        As for `NetworkEncoding`.
    """

    def __init__(
        self, network: InContextInverter, tokens_at_once: int = TOKENS, device: str = "auto"
    ) -> None:
        self.network, self.tokens_at_once, self.device = network, tokens_at_once, _device(device)

    @torch.inference_mode()
    def decode(self, encoders: VoxelEncoders, responses: np.ndarray) -> np.ndarray:
        """Read every trial; see `Inversion.decode`.

        Raises
        ------
        NeurodecError
            If a chunk does not hold a single trial, or the encoders are of another space.
        """
        return torch.cat(list(self._chunks(self.network, encoders, responses))).numpy()

    @torch.inference_mode()
    def attention(self, encoders: VoxelEncoders, responses: np.ndarray) -> np.ndarray:
        """Return how much each voxel weighs in what is read, mean over trials, shape (n_voxels,).

        Registers take part of the attention too, so that it sums to less than 1.
        """
        total = sum(
            part.sum(dim=0) for part in self._chunks(self.network.attention_maps, encoders, responses)
        )
        return (total / len(responses)).numpy()

    def _chunks(
        self, read: Callable[..., torch.Tensor], encoders: VoxelEncoders, responses: np.ndarray
    ) -> Iterator[torch.Tensor]:
        if encoders.weights.shape[1] != self.network.n_embed:
            raise NeurodecError(
                f"The encoders have {encoders.weights.shape[1]} weights, the network reads {self.network.n_embed}; "
                "adapt in the embedding space that it was trained in."
            )
        n_tokens = len(encoders) + self.network.n_registers
        per_chunk = _per_chunk(self.tokens_at_once, n_tokens, "trial", f"{len(encoders)} voxels")
        self.network.to(self.device).eval()
        weights, bias = (
            torch.as_tensor(own, device=self.device) for own in (encoders.weights, encoders.bias)
        )
        for start in track(range(0, len(responses), per_chunk), "inverting"):
            part = np.ascontiguousarray(responses[start : start + per_chunk], dtype=np.float32)
            with _half(self.device):
                found = read(weights, bias, torch.from_numpy(part).to(self.device))
            yield found.float().cpu()


def _device(name: str) -> torch.device:
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def _half(device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


def _per_chunk(tokens: int, needed: int, what: str, why: str) -> int:
    if tokens < needed:
        raise NeurodecError(
            f"`tokens_at_once` is {tokens}, and one {what} with {why} takes {needed}; raise it to at least that."
        )
    return tokens // needed
