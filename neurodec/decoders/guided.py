"""Stable Diffusion and SDXL guided by an image embedding through an IP-Adapter.

The image branch of ATM (Li et al. 2024) is SDXL-Turbo with the adapter of ViT-H; the embedded default is a tiny network
of the same classes in the same folder layout.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from neurodec.decoders.captions import Captioner
from neurodec.decoders.checked_rows import (
    check_embeddings,
    check_rows,
    check_space,
    check_steps,
    in_batches,
    refuse_unit_length,
    square,
)
from neurodec.decoders.contract import BIG_G, VIT_H, Decoder
from neurodec.decoders.first_picture import images_to_latents, latents_to_images
from neurodec.decoders.loading import (
    DType,
    Offload,
    empty_picture,
    first_line,
    load_pipeline,
    place,
    read_shapes,
    resolve_device,
    resolve_dtype,
)
from neurodec.errors import NeurodecError
from neurodec.features.downloads import find_file, remedy
from neurodec.features.weights import EMBEDDED
from neurodec.foreign_code import quiet

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline, UNet2DConditionModel

KINDS = (
    "StableDiffusionXLPipeline",
    "StableDiffusionXLImg2ImgPipeline",
    "StableDiffusionPipeline",
    "StableDiffusionImg2ImgPipeline",
)
"""Classes that ``model_index.json`` may name."""
SPACES = {
    "ip-adapter_sd15.safetensors": VIT_H,
    "ip-adapter_sd15_light.safetensors": VIT_H,
    "ip-adapter_sd15_vit-G.safetensors": BIG_G,
    "ip-adapter-plus_sd15.safetensors": f"{VIT_H}/penultimate-tokens",
    "ip-adapter_sdxl.safetensors": BIG_G,
    "ip-adapter_sdxl_vit-h.safetensors": VIT_H,
    "ip-adapter-plus_sdxl_vit-h.safetensors": f"{VIT_H}/penultimate-tokens",
}
"""Embedding space that each published adapter reads, by file name."""
TOKEN_ENCODER = "models/image_encoder"
"""Image encoder of the published adapters that read tokens (ViT-H), beside them in their repository."""


class GuidedDiffusion(Decoder):
    """Draw pictures from image embeddings with a Stable Diffusion pipeline and an IP-Adapter.

    Parameters
    ----------
    pipeline : str
        A diffusers folder or the hub id of one in the local cache: any Stable Diffusion 1.x/2.x or SDXL pipeline, with
        or without text encoders. ``neurodec/tiny-decoder`` is packaged.
    adapter : str
        Folder or hub id that holds the adapter, such as ``h94/IP-Adapter``.
    adapter_subfolder, adapter_weights : str
        Its file there, such as ``sdxl_models`` and ``ip-adapter_sdxl_vit-h.safetensors``. Adapters of one embedding and
        of tokens ("plus") are distinguished by their tensors.
    embedding_space : str, optional
        The space of the embeddings that the adapter reads; known for the packaged and the published ones (`SPACES`).
    device : str
        A torch device, or "auto": the first GPU if there is one.
    dtype : {"auto", "float32", "float16", "bfloat16"}
        "auto" is float16 on a GPU, float32 elsewhere.
    offload : {"model", "sequential"}, optional
        Keep parts on the CPU until they are used: whole networks, or single layers (least memory, slowest).
    adapter_scale : float
        Weight of the embedding beside the text; 1 as in ATM.
    batch_size : int
        Pictures drawn at once; changes them by no more than rounding.
    captioner : Captioner, optional
        Writes the prompt of every row from its embedding, where no captions are given.

    Attributes
    ----------
    embedding_space : str
    width : int
        D of the embeddings.
    size : int
        Side of the pictures in pixels.

    Raises
    ------
    NeurodecError
        If something is not on this machine (with the command that fetches it), damaged or incomplete (naming the part),
        or the adapter belongs to another network.

    Notes
    -----
    Cost: one pass of the diffusion network per step and row, two with guidance. Across batch sizes a picture differs by
    rounding only: matrix products sum in another order, which moves single pixels by 1 of 255 in float32.

    Starting from a picture, diffusers draws latents from the autoencoder's posterior and lets the scheduler scale the
    noise to the level of the first step that is run. ATM's published start adds unit noise to the scaled latents
    whatever that level; with SDXL-Turbo, 10 steps and strength 0.5 as there, pictures will differ.

    The safety checker of Stable Diffusion 1.x is not loaded: what it blacks out would be scored as a reconstruction.
    """

    optional = ("latents", "captions", "pictures")

    def __init__(
        self,
        pipeline: str = "neurodec/tiny-decoder",
        adapter: str = "neurodec/tiny-decoder",
        adapter_subfolder: str = "ip_adapter",
        adapter_weights: str = "ip-adapter.safetensors",
        embedding_space: str | None = None,
        device: str = "auto",
        dtype: DType = "auto",
        offload: Offload | None = None,
        adapter_scale: float = 1.0,
        batch_size: int = 8,
        captioner: Captioner | None = None,
    ) -> None:
        self.reads = _reading(pipeline, adapter, adapter_weights, embedding_space)
        self._captioner = captioner
        self.device = resolve_device(device, offload)
        self._dtype = resolve_dtype(dtype, self.device)
        self._name, self._adapter, self.batch_size = pipeline, adapter, batch_size
        relative = f"{adapter_subfolder}/{adapter_weights}" if adapter_subfolder else adapter_weights
        file = find_file(adapter, relative)
        shapes = read_shapes(file, f"The adapter of {adapter}", remedy(adapter, relative))
        self.width, self._tokens = _reads(shapes, file.name)
        self._pipeline = load_pipeline(pipeline, KINDS, self._dtype)
        _check_fits(shapes, self._pipeline.unet, f"{adapter}/{relative}", pipeline)
        _add_adapter(self._pipeline, file, adapter_scale)
        _take_rows_apart(self._pipeline)
        place(self._pipeline, self.device, offload)
        self.size = self._pipeline.unet.config.sample_size * self._pipeline.vae_scale_factor

    @classmethod
    def spaces(cls, arguments: dict[str, Any]) -> dict[str, str]:
        """Return what a decoder of these arguments reads; see `Decoder.spaces`."""
        defaults = {name: one.default for name, one in inspect.signature(cls.__init__).parameters.items()}
        names = ("pipeline", "adapter", "adapter_weights", "embedding_space")
        return _reading(*({**defaults, **arguments}[name] for name in names))

    def decode(
        self,
        conditions: dict[str, Any],
        *,
        generator: Sequence[torch.Generator],
        n_steps: int,
        guidance: float,
        strength: float = 0.5,
    ) -> list[Image.Image]:
        """Draw from the condition `image`, and from `captions` and `latents` or `pictures` to start from, if given.

        See `Decoder.decode` and `draw`.
        """
        first = conditions.get("pictures")
        if "latents" in conditions:
            first = self.latents_to_images(torch.as_tensor(conditions["latents"]))
        captions = conditions.get("captions")
        if captions is None and self._captioner is not None:
            captions = self._captioner.caption(conditions["image"])
        return self.draw(
            conditions["image"],
            captions=captions,
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
        captions: Sequence[str] | None = None,
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
        image_embeds : Tensor, shape (B, D) or, for adapters of tokens, (B, n_tokens, D)
            As the image network gives them, not brought to unit length.
        captions : sequence of str, optional
            One prompt per row; the empty prompt without.
        init_images : sequence of PIL.Image.Image, optional
            One picture per row to start from instead of noise; resized to `size`. ATM's low-level branch gives them
            through `latents_to_images`.
        strength : float
            With `init_images`, how much of the diffusion is run: the last ``int(n_steps * strength)`` steps.
        generator : sequence of torch.Generator
            One per row, on the CPU. All of a row's noise is drawn from its own, so its picture depends on neither the
            batch nor the order. It advances: seed it again for the same picture.
        n_steps : int
            Diffusion steps; SDXL-Turbo wants 1 to 4.
        guidance : float
            Classifier-free guidance; up to 1 there is no second pass (SDXL-Turbo: 0).
        embedding_space : str, optional
            Where the embeddings are from; refused if the adapter reads another space.

        Returns
        -------
        list of PIL.Image.Image
            RGB, `size` x `size`.

        Raises
        ------
        NeurodecError
            If an input has another shape, length, space or range, is not finite, or the GPU is too small.
        """
        check_space(self.embedding_space, embedding_space)
        rows = check_embeddings(image_embeds, self.width, self.embedding_space, self._tokens)
        if not self._tokens:
            refuse_unit_length(rows, self.embedding_space)
        check_rows(len(rows), generator, captions, init_images)
        check_steps(n_steps, guidance, None if init_images is None else strength)
        if captions is not None and not self._reads_text:
            raise NeurodecError(f"{self._name} has no text encoder and cannot use captions; leave them out.")
        run = self._pipeline if init_images is None else self._from_pictures

        def draw(part: slice) -> list[Image.Image]:
            start = {}
            if init_images is not None:
                start = {"image": square(init_images[part], self.size), "strength": strength}
            return run(
                **self._text(rows[part], captions and captions[part]),
                **start,
                ip_adapter_image_embeds=[self._guides(rows[part], guidance)],
                generator=list(generator[part]),
                num_inference_steps=n_steps,
                guidance_scale=guidance,
            ).images

        return in_batches(len(rows), self.batch_size, draw, "decoding pictures")

    def latents_to_images(self, latents: Tensor) -> list[Image.Image]:
        """Decode low-level latents to pictures that `decode` can start from.

        Parameters
        ----------
        latents : Tensor, shape (B, channels, h, w)
            *Not* multiplied by the autoencoder's scaling factor, as ATM's low-level branch predicts them:
            (B, 4, 64, 64) for 512 pixels.

        Raises
        ------
        NeurodecError
            If the shape does not fit, or a value is not finite.
        """
        return latents_to_images(self._pipeline.vae, latents, self.device, self.batch_size)

    def autoencode(self, pictures: Sequence[Image.Image]) -> list[Image.Image]:
        """Encode and decode pictures, resized to `size`: the best that any embedding could give."""
        return self.latents_to_images(
            images_to_latents(self._pipeline.vae, square(pictures, self.size), self.device, self.batch_size)
        )

    @cached_property
    def _from_pictures(self) -> DiffusionPipeline:
        """The image-to-image form, which shares every network (and so what offloads them)."""
        from diffusers import AutoPipelineForImage2Image

        with quiet():
            found = AutoPipelineForImage2Image.from_pipe(self._pipeline)
        found.set_progress_bar_config(disable=True)
        found.watermark = None
        _take_rows_apart(found)
        return found

    @property
    def _reads_text(self) -> bool:
        return any(getattr(self._pipeline, name, None) for name in ("text_encoder", "text_encoder_2"))

    def _text(self, rows: Tensor, captions: Sequence[str] | None) -> dict[str, Any]:
        """Return the prompts, or without text encoders one token of zeros."""
        if self._reads_text:
            return {"prompt": list(captions) if captions else [""] * len(rows)}
        config = self._pipeline.unet.config
        text = torch.zeros(len(rows), 1, config.cross_attention_dim, dtype=self._dtype, device=self.device)
        inputs = {"prompt_embeds": text, "negative_prompt_embeds": text}
        if config.addition_embed_type == "text_time":
            width = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
            pooled = torch.zeros(len(rows), width, dtype=self._dtype, device=self.device)
            inputs |= {"pooled_prompt_embeds": pooled, "negative_pooled_prompt_embeds": pooled}
        return inputs

    def _guides(self, rows: Tensor, guidance: float) -> Tensor:
        """Return one embedding per row, with guidance behind those of the empty picture."""
        both = rows[:, None]  # the adapter takes several pictures per row: here one
        if guidance > 1 and self._pipeline.unet.config.time_cond_proj_dim is None:
            if self._empty.shape[1:] != rows.shape[1:]:
                raise NeurodecError(
                    f"The embeddings have {rows.shape[1]} tokens, the image encoder beside the adapter makes "
                    f"{self._empty.shape[1]}; embed pictures with that one."
                )
            both = torch.cat([self._empty[:, None].expand_as(both), both])
        return both.to(self.device, self._dtype)

    @cached_property
    def _empty(self) -> Tensor:
        """What adapters were trained on where the picture was dropped."""
        if not self._tokens:
            return torch.zeros(1, self.width)
        folder = find_file(self._adapter, f"{TOKEN_ENCODER}/config.json").parent
        return empty_picture(folder, self._adapter, True, self.device, self._dtype).float()


def _reading(pipeline: str, adapter: str, weights: str, embedding_space: str | None) -> dict[str, str]:
    """Return the conditions of a pipeline with an adapter, and the spaces that they must be of."""
    space = _space(embedding_space, adapter, weights)
    return {"image": space, "latents": f"{pipeline}/vae", "captions": "text", "pictures": "pixels"}


def _space(given: str | None, adapter: str, weights: str) -> str:
    known = "neurodec/tiny-clip" if adapter.startswith(EMBEDDED) else SPACES.get(weights)
    if not (given or known):
        raise NeurodecError(
            f"Which embeddings the adapter file {weights} reads is not known; name their space in embedding_space."
        )
    return given or known


def _reads(shapes: dict[str, tuple[int, ...]], name: str) -> tuple[int, bool]:
    """Return the width of the embeddings that an adapter reads, and whether it reads tokens."""
    if "image_proj.proj.weight" in shapes:
        return shapes["image_proj.proj.weight"][1], False
    if "image_proj.latents" in shapes and "image_proj.proj_in.weight" in shapes:
        return shapes["image_proj.proj_in.weight"][1], True
    raise NeurodecError(
        f"The adapter file {name} reads neither an image embedding nor its tokens; take an ip-adapter_* or "
        "ip-adapter-plus_* file."
    )


def _check_fits(
    shapes: dict[str, tuple[int, ...]], unet: UNet2DConditionModel, adapter: str, pipeline: str
) -> None:
    """Compare an adapter's layers, numbered 1, 3, 5, ..., with the network's cross-attentions."""
    names = [name.removesuffix(".processor") for name in unet.attn_processors if "attn2" in name]
    layers = [unet.get_submodule(name).to_k for name in names]
    wanted = {
        f"ip_adapter.{2 * place + 1}.{part}.weight": (layer.out_features, layer.in_features)
        for place, layer in enumerate(layers)
        for part in ("to_k_ip", "to_v_ip")
    }
    found = {name: shape for name, shape in shapes.items() if name.startswith("ip_adapter.")}
    if found != wanted:
        raise NeurodecError(
            f"The adapter {adapter} was made for another network than {pipeline} ({len(found)} layers' tensors against "
            f"{len(wanted)}, or of other widths); take the one made for it."
        )


def _take_rows_apart(pipeline: DiffusionPipeline) -> None:
    """Let every row have its own embedding.

    diffusers expects one picture for the whole batch and repeats what it is given once per row; of B different rows
    each would then attend to the tokens of all B. Its pipelines are the same in all else.
    """

    def as_given(_picture: None, embeds: list[Tensor], *_others: Any) -> list[Tensor]:
        return embeds

    pipeline.prepare_ip_adapter_image_embeds = as_given


def _add_adapter(pipeline: DiffusionPipeline, file: Path, scale: float) -> None:
    with quiet():
        try:
            pipeline.load_ip_adapter(
                str(file.parent),
                subfolder="",
                weight_name=file.name,
                image_encoder_folder=None,
                local_files_only=True,
            )
        except (KeyError, ValueError, RuntimeError) as error:
            raise NeurodecError(
                f"The adapter {file.name} cannot be loaded ({first_line(error)}); fetch or train it again."
            ) from error
        pipeline.set_ip_adapter_scale(scale)
