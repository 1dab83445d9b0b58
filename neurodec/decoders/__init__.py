"""From image embeddings to pictures: guided diffusion over diffusers pipelines, and the embedded tiny decoder."""

from neurodec.decoders.captions import Captioner, PixelProjector
from neurodec.decoders.guided import GuidedDiffusion
from neurodec.decoders.kandinsky import Kandinsky
from neurodec.decoders.latents import images_to_latents, latents_to_images
from neurodec.decoders.selection import oracle, select

__all__ = [
    "Captioner",
    "GuidedDiffusion",
    "Kandinsky",
    "PixelProjector",
    "images_to_latents",
    "latents_to_images",
    "oracle",
    "select",
]
