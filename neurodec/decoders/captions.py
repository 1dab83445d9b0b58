"""From an image embedding to a caption: a projector to tokens, read by the captioning network GIT.

The caption branch of ATM (Li et al. 2024); the caption can become the prompt of `GuidedDiffusion.decode`.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from neurodec.decoders.checked_rows import check_embeddings, check_space, in_batches
from neurodec.decoders.contract import VIT_H
from neurodec.decoders.loading import (
    DType,
    check_network,
    check_tokenizer,
    first_line,
    memory_advice,
    resolve_device,
    resolve_dtype,
)
from neurodec.encoders.checkpoints import read_checkpoint, take_exactly
from neurodec.errors import NeurodecError
from neurodec.features.downloads import find_folder, remedy
from neurodec.foreign_code import quiet

# Positions in the authors' `nn.Sequential`; rearrangements hold the numbers left out.
_PUBLISHED = {"1.": "spread.", "2.": "token_norm.", "4.": "mix.", "5.": "norm."}


class PixelProjector(nn.Module):
    """Spread one embedding over the tokens of an image network.

    Every value becomes `n_tokens` values, linearly and with the same weights, normalised over tokens; then every token
    is mapped linearly and normalised. Trained as published by the mean squared error to the last hidden states of GIT's
    vision tower (AdamW, 1e-3, batches of 32, 30 epochs).

    Parameters
    ----------
    width : int
        D of the embedding.
    n_tokens, token_width : int
        Of the image network: 257 and 1024 in ``microsoft/git-large-coco``.
    """

    def __init__(self, width: int = 1024, n_tokens: int = 257, token_width: int = 1024) -> None:
        super().__init__()
        self.spread, self.token_norm = nn.Linear(1, n_tokens), nn.LayerNorm(n_tokens)
        self.mix, self.norm = nn.Linear(width, token_width), nn.LayerNorm(token_width)

    def forward(self, image_embeds: Tensor) -> Tensor:
        """Return tokens (B, n_tokens, token_width) for embeddings (B, D)."""
        spread = self.token_norm(self.spread(image_embeds[..., None]))  # (B, D, n_tokens)
        return self.norm(self.mix(spread.transpose(1, 2)))

    @classmethod
    def load_published(cls, path: str | Path) -> PixelProjector:
        """Read a trained projector, the authors' or one saved from `state_dict`; its sizes follow from the tensors.

        Parameters
        ----------
        path : str or Path
            ``.safetensors``, or a PyTorch file, read with ``weights_only=True``.

        Raises
        ------
        NeurodecError
            If the file is missing or damaged, or a tensor does not fit (every one is named).
        """
        state = {
            next(
                (new + key[2:] for old, new in _PUBLISHED.items() if key.startswith(old)), key
            ): value.float()
            for key, value in read_checkpoint(path).items()
        }
        sizes = [state[key].shape for key in ("spread.weight", "mix.weight") if key in state]
        if len(sizes) < 2:
            raise NeurodecError(f"{path} holds no projector; give the weights of a PixelProjector.")
        return take_exactly(cls(sizes[1][1], sizes[0][0], sizes[1][0]), state, str(path))


class Captioner:
    """Write captions for image embeddings.

    Parameters
    ----------
    projector : str
        Weights of a trained `PixelProjector`.
    model : str
        Folder or hub id in the local cache of a GIT network with its tokenizer.
    embedding_space : str
        The space of the embeddings that the projector was trained on.
    device : str
        A torch device, or "auto": the first GPU if there is one.
    dtype : {"auto", "float32", "float16", "bfloat16"}
        "auto" is float16 on a GPU, float32 elsewhere.
    batch_size : int
        Captions written at once.

    Raises
    ------
    NeurodecError
        If something is not on this machine (with the command that fetches it) or damaged, or the projector makes other
        tokens than the network reads.
    """

    def __init__(
        self,
        projector: str,
        model: str = "microsoft/git-large-coco",
        embedding_space: str = VIT_H,
        device: str = "auto",
        dtype: DType = "auto",
        batch_size: int = 32,
    ) -> None:
        self.embedding_space, self.batch_size = embedding_space, batch_size
        self.device = resolve_device(device)
        self._dtype = resolve_dtype(dtype, self.device)
        self.projector = PixelProjector.load_published(projector).to(self.device, self._dtype).eval()
        self.width = self.projector.mix.in_features
        self._model, self._tokenizer = _load_git(model, self._dtype)
        config = self._model.config.vision_config
        wanted = ((config.image_size // config.patch_size) ** 2 + 1, config.hidden_size)
        made = (self.projector.spread.out_features, self.projector.mix.out_features)
        if made != wanted:
            raise NeurodecError(
                f"The projector {projector} makes {made[0]} x {made[1]} tokens, {model} reads "
                f"{wanted[0]} x {wanted[1]}; give one trained for it."
            )
        with memory_advice("loading the captioner"):
            self._model.to(self.device)

    def caption(
        self, image_embeds: Tensor, *, max_new_tokens: int = 25, embedding_space: str | None = None
    ) -> list[str]:
        """Write one caption per embedding, always the most probable next word.

        Parameters
        ----------
        image_embeds : Tensor, shape (B, D)
        max_new_tokens : int
            Length at most; 25 as published.
        embedding_space : str, optional
            Where the embeddings are from; refused if the projector reads another space.

        Returns
        -------
        list of str

        Raises
        ------
        NeurodecError
            If an input has another shape or space, is not finite, or the GPU is too small.
        """
        check_space(self.embedding_space, embedding_space)
        rows = check_embeddings(image_embeds, self.width, self.embedding_space)
        with torch.inference_mode():
            tokens = self.projector(rows.to(self.device, self._dtype))
        return self.caption_tokens(tokens, max_new_tokens)

    @torch.inference_mode()
    def caption_tokens(self, tokens: Tensor, max_new_tokens: int = 25) -> list[str]:
        """Write one caption per row of vision-tower tokens (B, n_tokens, token_width)."""

        def draw(part: slice) -> list[str]:
            seen = tokens[part].to(self.device, self._dtype)[:, None]  # the rank of pictures, as GIT demands
            ids = self._model.generate(
                pixel_values=seen, max_new_tokens=max_new_tokens, do_sample=False, num_beams=1
            )
            return self._tokenizer.batch_decode(ids, skip_special_tokens=True)

        return in_batches(len(tokens), self.batch_size, draw, "writing captions")


class _AlreadyTokens(nn.Module):
    """Stand in for GIT's vision tower when its output is given."""

    def forward(self, pixel_values: Tensor, **_options: Any) -> SimpleNamespace:
        return SimpleNamespace(last_hidden_state=pixel_values[:, 0])


def _load_git(name: str, dtype: torch.dtype) -> tuple[nn.Module, Any]:
    """Load GIT without its vision tower, and its tokenizer."""
    folder = find_folder(name)
    check_network(folder, name, remedy(name))
    check_tokenizer(folder, f"The tokenizer of {name}", remedy(name))
    from transformers import AutoTokenizer, GitForCausalLM  # not at the top: seconds

    with quiet():
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model, report = GitForCausalLM.from_pretrained(
                folder, use_safetensors=True, local_files_only=True, output_loading_info=True
            )
        except Exception as error:  # transformers fails in every way
            raise NeurodecError(f"{name} cannot be loaded ({first_line(error)}); {remedy(name)}.") from error
    if report["missing_keys"]:
        raise NeurodecError(f"{name} lacks the tensor {sorted(report['missing_keys'])[0]}; {remedy(name)}.")
    model.git.image_encoder = _AlreadyTokens()
    return model.to(dtype).eval(), tokenizer
