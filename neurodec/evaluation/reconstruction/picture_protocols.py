"""How published tables of reconstructions were made: sizes, interpolation, weights, direction."""

from __future__ import annotations

from dataclasses import dataclass, field

from neurodec.errors import NeurodecError
from neurodec.evaluation.reconstruction.measures import Direction, Form
from neurodec.evaluation.reconstruction.picture_sets import Resize
from neurodec.features.pixel_similarity import SSIM_FORM


@dataclass(frozen=True)
class PictureProtocol:
    """One paper's way to score reconstructions.

    Parameters
    ----------
    pixels : tuple of Resize
        Steps from a picture to the pixels that PixCorr and SSIM see.
    ssim_form : {"2d", "columnwise"}
        As in `ssim`.
    two_way : dict of str to tuple of Resize
        Networks of the two-way columns, and the steps from a picture to what each sees.
    distances : dict of str to tuple of Resize
        Networks of the distance columns.
    classes : dict of str to tuple of Resize
        Classifiers of the n-way columns.
    direction : {"over_targets", "over_recons"}
        Of two-way identification, as in `two_way`.
    first : tuple of Resize
        What every picture goes through before a network that the protocol does not name.
    native : bool
        Score pixels at the size of the seen pictures, and take no network; see `native_scores`.
    """

    pixels: tuple[Resize, ...]
    ssim_form: Form | str
    two_way: dict[str, tuple[Resize, ...]]
    distances: dict[str, tuple[Resize, ...]] = field(default_factory=dict)
    classes: dict[str, tuple[Resize, ...]] = field(default_factory=dict)
    direction: Direction = "over_targets"
    first: tuple[Resize, ...] = ()
    native: bool = False

    def resizes(self, network: str, size: int) -> tuple[Resize, ...]:
        """Return the steps to what a network sees: the protocol's, or straight to `size` where it has none."""
        named = self.two_way | self.distances | self.classes
        return named[network] if network in named else (*self.first, Resize(size))


_TO_256 = Resize(256)


def _mindeye(size: int) -> tuple[Resize, ...]:
    return _TO_256, Resize(size)


def _png(size: int, interpolation: str = "bilinear") -> tuple[Resize, ...]:
    return (Resize(size, interpolation, eight_bit=True),)


PROTOCOLS = {
    "mindeye": PictureProtocol(
        pixels=_mindeye(425),
        ssim_form="2d",
        two_way={
            "alexnet_2": _mindeye(256),
            "alexnet_5": _mindeye(256),
            "inception_v3": _mindeye(342),
            "clip_vit_l_14": _mindeye(224),
        },
        distances={"efficientnet_b1": _mindeye(255), "swav_resnet50": _mindeye(224)},
        first=(_TO_256,),
    ),
    "braindiffuser": PictureProtocol(
        pixels=_png(425, "bicubic"),
        ssim_form="columnwise",
        two_way={name: _png(224) for name in ("alexnet_2", "alexnet_5", "inception_v3", "clip_vit_l_14")},
        distances={name: _png(224) for name in ("efficientnet_b1_v1", "swav_resnet50")},
    ),
    "takagi": PictureProtocol(
        pixels=(Resize(425),),
        ssim_form="2d",
        two_way={
            "inception_v3": _png(299),
            "alexnet_pool2": _png(299),
            "alexnet_pool5": _png(299),
            "alexnet_fc7": _png(299),
            "clip_vit_l_14": _png(224, "bicubic"),
        },
        direction="over_recons",
    ),
    "mindvis": PictureProtocol(
        pixels=(Resize(425),),
        ssim_form="2d",
        two_way={},
        classes={"vit_h_14": (Resize(518, "bicubic"),)},
    ),
    "native": PictureProtocol(pixels=(), ssim_form=SSIM_FORM, two_way={}, native=True),
}
"""Protocols by name.

Scores of different protocols do not compare. "mindeye" (Scotti et al. 2023, 2024; ATM uses it too): everything to 256
pixels first, then bilinear with antialias to each network's size. "braindiffuser" (Ozcelik & VanRullen 2023): 8-bit PNG
files, Pillow's resize, 224 pixels for every network, EfficientNet's first weights, SSIM by columns. "takagi" (Takagi &
Nishimoto 2023): 299 pixels, AlexNet's pools, and the other direction of identification; it has no pixel scores (ours
are at 425 pixels, bilinear), its two hidden layers of CLIP are left out, and where it averages correlations over five
samples per picture there is one here. "mindvis" (Chen et al. 2023, MinD-Vis; WAVE uses it too): 50-way top-1
classification by ViT-H/14, whose class of the original must be the likeliest of 50 in the reconstruction. Pictures that
are not square are squashed, but by "native", which is for digits, letters and figures: grey, at their own size (tables
of Miyawaki et al. 2008, Du et al. 2019), with PCC, MSE, both usual forms of SSIM, and identification by pixels.
"""


def protocol_named(name: str) -> PictureProtocol:
    """Look a protocol up.

    Raises
    ------
    NeurodecError
        If there is none of that name.
    """
    if name not in PROTOCOLS:
        raise NeurodecError(f"There is no protocol '{name}'; take one of {', '.join(PROTOCOLS)}.")
    return PROTOCOLS[name]
