"""Rendered scenes with captions: the stimuli of the demo. One object, its colour, place, size and background."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from neurodec.files import atomic_path

COLORS = {
    "red": (214, 39, 40),
    "orange": (255, 140, 20),
    "yellow": (250, 225, 50),
    "green": (40, 160, 60),
    "blue": (40, 90, 220),
    "purple": (130, 60, 180),
    "pink": (250, 140, 190),
    "white": (248, 248, 248),
}
PLACES = {"center": (0, 0), "left": (-1, 0), "right": (1, 0), "top": (0, -1), "bottom": (0, 1)}
SIZES = {"small": 0.36, "large": 0.58}  # half width of the object, of the half width of the picture
BACKGROUNDS = {
    "gray": ((150, 150, 150), (105, 105, 105)),
    "sky": ((150, 205, 250), (215, 240, 255)),
    "sand": ((235, 215, 165), (200, 165, 105)),
    "night": ((12, 14, 45), (45, 40, 85)),
}
_INK = (30, 25, 25)
_OVERSAMPLE = 4


@dataclass(frozen=True, order=True)
class Scene:
    """One picture.

    Parameters
    ----------
    kind, color, place, size, background : str
        The attributes, from `KINDS`, `COLORS`, `PLACES`, `SIZES` and `BACKGROUNDS`.
    variant : int
        Seeds the small differences between pictures of one concept: position, size, tint and texture.
    """

    kind: str
    color: str
    place: str
    size: str
    background: str
    variant: int = 0

    @property
    def concept(self) -> str:
        """All attributes but the variant, safe as a file name."""
        return f"{self.size}_{self.color}_{self.kind}_{self.place}_{self.background}"

    @property
    def caption(self) -> str:
        """One English sentence that tells every attribute."""
        where = "in the center" if self.place == "center" else f"at the {self.place}"
        return f"a {self.size} {self.color} {self.kind} {where} on {self.background}"


class _Pen:
    """Draws in object coordinates, -1 to 1 in both directions, y down."""

    def __init__(self, draw: ImageDraw.ImageDraw, centre: tuple[float, float], half: float, color: tuple) -> None:
        self.draw, self.centre, self.half, self.color = draw, centre, half, color
        self.dark = tuple(int(0.62 * channel) for channel in color)
        self.width = max(2, round(half * 0.07))

    def _points(self, points: list[tuple[float, float]]) -> list[tuple[float, float]]:
        return [(self.centre[0] + x * self.half, self.centre[1] + y * self.half) for x, y in points]

    def shape(self, points: list[tuple[float, float]], fill: tuple | None = None) -> None:
        outline = self._points(points)
        self.draw.polygon(outline, fill=fill or self.color)
        self.draw.line([*outline, outline[0]], fill=_INK, width=self.width, joint="curve")

    def oval(self, x0: float, y0: float, x1: float, y1: float, fill: tuple | None = None) -> None:
        box = [value for point in self._points([(x0, y0), (x1, y1)]) for value in point]
        self.draw.ellipse(box, fill=fill or self.color, outline=_INK, width=self.width)

    def box(self, x0: float, y0: float, x1: float, y1: float, fill: tuple | None = None) -> None:
        self.shape([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], fill)

    def arc(self, x0: float, y0: float, x1: float, y1: float, start: int, end: int, thick: float) -> None:
        box = [value for point in self._points([(x0, y0), (x1, y1)]) for value in point]
        self.draw.arc(box, start, end, fill=_INK, width=round(thick * self.half) + 2 * self.width)
        self.draw.arc(
            [box[0] + self.width, box[1] + self.width, box[2] - self.width, box[3] - self.width],
            start,
            end,
            fill=self.color,
            width=round(thick * self.half),
        )


def _house(pen: _Pen) -> None:
    pen.box(-0.75, -0.1, 0.75, 0.95)
    pen.shape([(-1, -0.1), (0, -1), (1, -0.1)], pen.dark)
    pen.box(-0.2, 0.35, 0.2, 0.95, _INK)


def _tree(pen: _Pen) -> None:
    pen.box(-0.16, 0.4, 0.16, 1, (110, 70, 35))
    for top, low, wide in ((-1, -0.2, 0.5), (-0.65, 0.2, 0.68), (-0.25, 0.6, 0.85)):
        pen.shape([(0, top), (wide, low), (-wide, low)])


def _cup(pen: _Pen) -> None:
    pen.arc(0.2, -0.45, 1, 0.4, -110, 110, 0.16)
    pen.shape([(-0.8, -0.75), (0.6, -0.75), (0.4, 0.8), (-0.6, 0.8)])
    pen.oval(-0.8, -0.92, 0.6, -0.58, pen.dark)


def _fish(pen: _Pen) -> None:
    pen.shape([(0.4, 0), (1, -0.6), (1, 0.6)], pen.dark)
    pen.oval(-1, -0.55, 0.6, 0.55)
    pen.oval(-0.72, -0.25, -0.48, -0.01, _INK)


def _car(pen: _Pen) -> None:
    pen.shape([(-0.55, -0.1), (-0.35, -0.6), (0.4, -0.6), (0.65, -0.1)], pen.dark)
    pen.box(-1, -0.12, 1, 0.4)
    for x in (-0.55, 0.55):
        pen.oval(x - 0.28, 0.15, x + 0.28, 0.71, _INK)


def _key(pen: _Pen) -> None:
    pen.box(-0.1, -0.14, 1, 0.14)
    pen.box(0.5, 0.1, 0.68, 0.5)
    pen.box(0.82, 0.1, 1, 0.5)
    pen.oval(-1, -0.55, 0.1, 0.55)
    pen.oval(-0.72, -0.24, -0.24, 0.24, _INK)


def _star(pen: _Pen) -> None:
    angles = np.arange(10) * np.pi / 5 - np.pi / 2
    radii = np.where(np.arange(10) % 2, 0.42, 1.0)
    pen.shape(list(zip(radii * np.cos(angles), radii * np.sin(angles), strict=True)))


def _heart(pen: _Pen) -> None:
    t = np.linspace(0, 2 * np.pi, 60)
    x, y = 16 * np.sin(t) ** 3, 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    pen.shape(list(zip(x / 17, -(y + 2.5) / 15, strict=True)))


def _boat(pen: _Pen) -> None:
    pen.box(-0.06, -1, 0.06, 0.4, (110, 70, 35))
    pen.shape([(0.1, -0.95), (0.85, 0.25), (0.1, 0.25)])
    pen.shape([(-1, 0.4), (1, 0.4), (0.6, 0.95), (-0.6, 0.95)], pen.dark)


def _umbrella(pen: _Pen) -> None:
    pen.box(-0.06, -0.2, 0.06, 0.95, (110, 70, 35))
    t = np.linspace(np.pi, 2 * np.pi, 30)
    rim = [(1, 0.05), (0.67, -0.15), (0.33, 0.05), (0, -0.15), (-0.33, 0.05), (-0.67, -0.15)]
    pen.shape([*zip(np.cos(t), 0.05 + 0.95 * np.sin(t), strict=True), *rim])


def _mushroom(pen: _Pen) -> None:
    pen.shape([(-0.25, 0), (0.25, 0), (0.35, 0.95), (-0.35, 0.95)], (235, 225, 200))
    t = np.linspace(np.pi, 2 * np.pi, 30)
    pen.shape(list(zip(np.cos(t), 0.1 + np.sin(t), strict=True)))
    for x, y in ((-0.5, -0.3), (0.1, -0.55), (0.5, -0.15)):
        pen.oval(x - 0.14, y - 0.14, x + 0.14, y + 0.14, pen.dark)


def _flower(pen: _Pen) -> None:
    pen.box(-0.06, 0.2, 0.06, 1, (30, 110, 40))
    for angle in np.arange(6) * np.pi / 3:
        x, y = 0.45 * np.cos(angle), -0.3 + 0.45 * np.sin(angle)
        pen.oval(x - 0.3, y - 0.3, x + 0.3, y + 0.3)
    pen.oval(-0.22, -0.52, 0.22, -0.08, (90, 60, 30))


def _hat(pen: _Pen) -> None:
    pen.box(-0.5, -0.75, 0.5, 0.5)
    pen.box(-0.5, 0.1, 0.5, 0.35, pen.dark)
    pen.oval(-1, 0.3, 1, 0.75)


def _ball(pen: _Pen) -> None:
    pen.oval(-0.9, -0.9, 0.9, 0.9)
    pen.oval(-0.35, -0.9, 0.35, 0.9, pen.dark)


KINDS: dict[str, Callable[[_Pen], None]] = {
    "house": _house,
    "tree": _tree,
    "cup": _cup,
    "fish": _fish,
    "car": _car,
    "key": _key,
    "star": _star,
    "heart": _heart,
    "boat": _boat,
    "umbrella": _umbrella,
    "mushroom": _mushroom,
    "flower": _flower,
    "hat": _hat,
    "ball": _ball,
}


def render(scene: Scene, size: int = 64) -> Image.Image:
    """Draw a scene.

    Parameters
    ----------
    scene : Scene
    size : int
        Side of the picture in pixels; drawn four times larger and reduced.

    Returns
    -------
    PIL.Image.Image
        RGB, the same bits for the same scene.
    """
    words = "".join(itertools.chain(scene.concept, str(scene.variant)))
    rng = np.random.default_rng([*words.encode()])
    full = size * _OVERSAMPLE
    image = _background(scene.background, full, rng)
    half = SIZES[scene.size] * full / 2 * rng.uniform(0.93, 1.07)
    reach = full / 2 - half * 1.05
    x, y = (full / 2 + shift * reach * 0.92 + rng.uniform(-0.03, 0.03) * full for shift in PLACES[scene.place])
    color = tuple(int(np.clip(channel + rng.normal(0, 8), 0, 255)) for channel in COLORS[scene.color])
    KINDS[scene.kind](_Pen(ImageDraw.Draw(image), (x, y), half, color))
    return image.resize((size, size), Image.Resampling.LANCZOS)


def _background(name: str, full: int, rng: np.random.Generator) -> Image.Image:
    top, bottom = (np.array(color, dtype=float) for color in BACKGROUNDS[name])
    ramp = np.linspace(0, 1, full)[:, None, None]
    texture = rng.normal(0, 7, (8, 8, 1)).repeat(full // 8, axis=0).repeat(full // 8, axis=1)
    pixels = (1 - ramp) * top + ramp * bottom + texture
    return Image.fromarray(np.broadcast_to(pixels, (full, full, 3)).clip(0, 255).astype(np.uint8))


def draw_scenes(
    n_train_concepts: int, images_per_concept: int, n_test_concepts: int, gallery_per_concept: int = 4, seed: int = 0
) -> tuple[list[Scene], list[Scene], list[Scene]]:
    """Draw training, test and gallery scenes; no attribute combination of the test occurs in training.

    Parameters
    ----------
    n_train_concepts, images_per_concept : int
        Attribute combinations for training, and pictures of each.
    n_test_concepts : int
        Combinations for the test, one picture each.
    gallery_per_concept : int
        Further pictures of every test concept, for the concept-centre gallery.
    seed : int
        Seed of the draw.

    Returns
    -------
    train, test, gallery : list of Scene
        Sorted by concept.
    """
    attributes = itertools.product(KINDS, COLORS, PLACES, SIZES, BACKGROUNDS)
    concepts = [Scene(*values) for values in attributes]
    order = np.random.default_rng(seed).permutation(len(concepts))
    test = sorted((concepts[index] for index in order[:n_test_concepts]), key=lambda scene: scene.concept)
    chosen = order[n_test_concepts : n_test_concepts + n_train_concepts]
    train = sorted((concepts[index] for index in chosen), key=lambda scene: scene.concept)
    return (
        [replace(scene, variant=variant) for scene in train for variant in range(images_per_concept)],
        test,
        [replace(scene, variant=1 + variant) for scene in test for variant in range(gallery_per_concept)],
    )


def write_scenes(root: Path, folder: str, scenes: list[Scene]) -> list[str]:
    """Write pictures in the THINGS layout, ``image_set/<folder>/00001_<concept>/<concept>_01.png``.

    Returns
    -------
    list of str
        Paths below `root`, in the order of `scenes`, which must be sorted by concept.
    """
    paths = []
    concepts = {concept: number for number, concept in enumerate(dict.fromkeys(s.concept for s in scenes), start=1)}
    for scene in scenes:
        name = f"{scene.concept}_{scene.variant + 1:02d}.png"
        paths.append(f"image_set/{folder}/{concepts[scene.concept]:05d}_{scene.concept}/{name}")
        with atomic_path(root / paths[-1]) as partial:
            render(scene).save(partial)
    return paths
