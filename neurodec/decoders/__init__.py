"""From image embeddings to pictures: guided diffusion over diffusers pipelines, and the embedded tiny decoder."""

from neurodec.decoders.captions import Captioner, PixelProjector
from neurodec.decoders.contract import Decoder, check_conditions
from neurodec.decoders.first_picture import images_to_latents, latents_to_images
from neurodec.decoders.guided import GuidedDiffusion
from neurodec.decoders.kandinsky import Kandinsky
from neurodec.decoders.pixel_decoder import PixelDecoder
from neurodec.decoders.selection import select

__all__ = [
    "Captioner",
    "Decoder",
    "GuidedDiffusion",
    "Kandinsky",
    "PixelDecoder",
    "PixelProjector",
    "check_conditions",
    "images_to_latents",
    "latents_to_images",
    "select",
]
