"""Kandinsky 2.2: pictures straight from a CLIP image embedding, without an adapter.

Its diffusion network was trained on embeddings of ViT-bigG. Apache-2.0, so free of the limits of SDXL-Turbo.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from neurodec.decoders.checked_rows import (
    check_embeddings,
    check_rows,
    check_space,
    check_steps,
    in_batches,
    refuse_unit_length,
    square,
)
from neurodec.decoders.contract import BIG_G, Decoder
from neurodec.decoders.first_picture import images_to_latents, latents_to_images
from neurodec.decoders.loading import (
    DType,
    Offload,
    empty_picture,
    load_pipeline,
    place,
    resolve_device,
    resolve_dtype,
)
from neurodec.errors import NeurodecError
from neurodec.features.downloads import find_folder

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline


class Kandinsky(Decoder):
    """Draw pictures from image embeddings with the decoder of Kandinsky 2.2.

    Parameters
    ----------
    pipeline : str
        A diffusers folder or the hub id of one in the local cache.
    prior : str
        Folder or hub id with the ``image_encoder`` that embeds the empty picture; read only for guidance above 1.
    embedding_space : str
        The space of the embeddings that the network reads.
    device : str
        A torch device, or "auto": the first GPU if there is one.
    dtype : {"auto", "float32", "float16", "bfloat16"}
        "auto" is float16 on a GPU, float32 elsewhere.
    offload : {"model", "sequential"}, optional
        Keep parts on the CPU until they are used: whole networks, or single layers (least memory, slowest).
    batch_size : int
        Pictures drawn at once; changes them by no more than rounding.

    Attributes
    ----------
    embedding_space : str
    width : int
        D of the embeddings: 1280.
    size : int
        Side of the pictures in pixels: 512.

    Raises
    ------
    NeurodecError
        If something is not on this machine (with the command that fetches it), damaged or incomplete (naming the part).
    """

    optional = ("latents", "pictures")

    def __init__(
        self,
        pipeline: str = "kandinsky-community/kandinsky-2-2-decoder",
        prior: str = "kandinsky-community/kandinsky-2-2-prior",
        embedding_space: str = BIG_G,
        device: str = "auto",
        dtype: DType = "auto",
        offload: Offload | None = None,
        batch_size: int = 8,
    ) -> None:
        self.reads = self.spaces({"pipeline": pipeline, "embedding_space": embedding_space})
        self.batch_size, self._prior = batch_size, prior
        self.device = resolve_device(device, offload)
        self._dtype = resolve_dtype(dtype, self.device)
        self._pipeline = load_pipeline(pipeline, ("KandinskyV22Pipeline",), self._dtype)
        place(self._pipeline, self.device, offload)
        self.width = self._pipeline.unet.config.encoder_hid_dim
        self.size = self._pipeline.unet.config.sample_size * self._pipeline.movq_scale_factor

    @classmethod
    def spaces(cls, arguments: dict[str, Any]) -> dict[str, str]:
        """Return what a decoder of these arguments reads; see `Decoder.spaces`."""
        pipeline = arguments.get("pipeline", "kandinsky-community/kandinsky-2-2-decoder")
        return {
            "image": arguments.get("embedding_space", BIG_G),
            "latents": f"{pipeline}/movq",
            "pictures": "pixels",
        }

    def decode(
        self,
        conditions: dict[str, Any],
        *,
        generator: Sequence[torch.Generator],
        n_steps: int,
        guidance: float,
        strength: float = 0.5,
    ) -> list[Image.Image]:
        """Draw from the condition `image`, and from `latents` or `pictures` to start from, if given.

        See `Decoder.decode` and `draw`.
        """
        first = conditions.get("pictures")
        if "latents" in conditions:
            first = self.latents_to_images(torch.as_tensor(conditions["latents"]))
        return self.draw(
            conditions["image"],
            init_images=first,
            strength=strength,
            generator=generator,
            n_steps=n_steps,
            guidance=guidance,
        )

    def draw(
        self,
        image_embeds: Tensor,
        *,
        captions: None = None,
        init_images: Sequence[Image.Image] | None = None,
        strength: float = 0.5,
        generator: Sequence[torch.Generator],
        n_steps: int,
        guidance: float,
        embedding_space: str | None = None,
    ) -> list[Image.Image]:
        """Draw one picture per embedding.

        Parameters
        ----------
        image_embeds : Tensor, shape (B, D)
            As the image network gives them, not brought to unit length.
        captions : None
            The network reads no text.
        init_images, strength, generator
            As for `GuidedDiffusion.draw`.
        n_steps : int
            Diffusion steps; the published default is 100, 25 to 50 do.
        guidance : float
            Classifier-free guidance away from the empty picture; the published default is 4, up to 1 there is no second
            pass.
        embedding_space : str, optional
            As for `GuidedDiffusion.draw`.

        Returns
        -------
        list of PIL.Image.Image
            RGB, `size` x `size`.

        Raises
        ------
        NeurodecError
            If an input has another shape, length, space or range, is not finite, captions are given, or the GPU is too
            small.
        """
        if captions is not None:
            raise NeurodecError("Kandinsky 2.2 reads no text and cannot use captions; leave them out.")
        check_space(self.embedding_space, embedding_space)
        rows = check_embeddings(image_embeds, self.width, self.embedding_space)
        refuse_unit_length(rows, self.embedding_space)
        check_rows(len(rows), generator, None, init_images)
        check_steps(n_steps, guidance, None if init_images is None else strength)
        empty = self._empty if guidance > 1 else torch.zeros(1, self.width)
        rows, empty = rows.to(self.device, self._dtype), empty.to(self.device, self._dtype)
        run = self._pipeline if init_images is None else self._from_pictures

        def draw(part: slice) -> list[Image.Image]:
            start: dict[str, Any] = {}
            if init_images is not None:
                start = {"image": square(init_images[part], self.size), "strength": strength}
            return run(
                image_embeds=rows[part],
                negative_image_embeds=empty.expand_as(rows[part]),
                **start,
                height=self.size,
                width=self.size,
                generator=list(generator[part]),
                num_inference_steps=n_steps,
                guidance_scale=guidance,
            ).images

        return in_batches(len(rows), self.batch_size, draw, "decoding pictures")

    def latents_to_images(self, latents: Tensor) -> list[Image.Image]:
        """Decode latents (B, 4, h, w) of Kandinsky's own autoencoder, not those of Stable Diffusion.

        Parameters
        ----------
        latents : Tensor
            Shape (n, ...).
        """
        return latents_to_images(self._pipeline.movq, latents, self.device, self.batch_size)

    def autoencode(self, pictures: Sequence[Image.Image]) -> list[Image.Image]:
        """Encode and decode pictures, resized to `size`: the best that any embedding could give."""
        pixels = square(pictures, self.size)
        return self.latents_to_images(
            images_to_latents(self._pipeline.movq, pixels, self.device, self.batch_size)
        )

    @cached_property
    def _from_pictures(self) -> DiffusionPipeline:
        """The image-to-image form, which shares every network (and so what offloads them)."""
        from diffusers import KandinskyV22Img2ImgPipeline

        found = KandinskyV22Img2ImgPipeline(**self._pipeline.components)
        found.set_progress_bar_config(disable=True)
        return found

    @cached_property
    def _empty(self) -> Tensor:
        """The embedding of the empty picture, which the published prior passes for guidance."""
        folder = find_folder(self._prior) / "image_encoder"
        return empty_picture(folder, self._prior, False, self.device, self._dtype).float()
