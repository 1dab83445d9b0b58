"""Rendered pictures with captions: the stimuli of the embedded default.

A scene is one object in one colour, of one size, at one place, before one backdrop. All combinations together
make 8,640 concepts. One in eight is *reserved*: no packaged network was trained on it and `draw_scenes` tests on
nothing else, so that a test scene is new to the encoder and to the target network alike.
"""

from __future__ import annotations

import colorsys
import itertools
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
from PIL import Image, ImageDraw

from neurodec.errors import NeurodecError
from neurodec.files import track
from neurodec.simulate.backdrops import BACKDROPS
from neurodec.simulate.shapes import SHAPES, Primitive

RGB = tuple[int, int, int]

COLORS: dict[str, RGB] = {
    "red": (216, 36, 40),
    "orange": (246, 138, 20),
    "yellow": (252, 220, 40),
    "green": (24, 140, 64),
    "blue": (34, 86, 214),
    "purple": (128, 52, 178),
    "pink": (250, 142, 190),
    "white": (246, 246, 246),
    "black": (38, 38, 42),
}
FIXED_INKS: dict[str, RGB] = {
    "dark": (28, 28, 34),
    "white": (252, 252, 252),
    "cream": (246, 230, 200),
    "wood": (128, 84, 50),
    "glass": (190, 226, 246),
    "leaf": (70, 150, 60),
    "gold": (252, 206, 60),
    "flame": (250, 130, 30),
}
PLACES: dict[str, tuple[int, int]] = {
    "left": (-1, 0),
    "right": (1, 0),
    "top": (0, -1),
    "bottom": (0, 1),
    "middle": (0, 0),
}
PLACE_WORDS = {
    "left": "on the left",
    "right": "on the right",
    "top": "at the top",
    "bottom": "at the bottom",
    "middle": "in the middle",
}
SIZES: dict[str, float] = {"small": 0.36, "large": 0.58}  # side of the object's box, in picture sides
BACKGROUND_WORDS = {
    "sky": "in the sky",
    "grass": "on the grass",
    "sand": "on the sand",
    "night": "in the night",
    "bricks": "before a brick wall",
    "checks": "before a checkered wall",
}
SCENE_ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "kind": tuple(SHAPES),
    "color": tuple(COLORS),
    "place": tuple(PLACES),
    "size": tuple(SIZES),
    "background": tuple(BACKDROPS),
}
"""Every attribute of a scene with the values it can take."""

_SUPERSAMPLING = 4
_MARGIN = 0.06  # room for outline, tilt and jitter between the box and the edge, in picture sides


@dataclass(frozen=True)
class Scene:
    """One picture, described.

    Attributes
    ----------
    kind, color, place, size, background : str
        Values from `SCENE_ATTRIBUTES`.
    variant : int
        Seeds what the caption does not tell: a small jitter of position, size, tilt and hue, the thickness of the
        outline, and the texture of the backdrop.
    """

    kind: str
    color: str
    place: str
    size: str
    background: str
    variant: int = 0

    def __post_init__(self) -> None:
        for name, values in SCENE_ATTRIBUTES.items():
            value = getattr(self, name)
            if value not in values:
                raise NeurodecError(f"A scene has no {name} '{value}'; choose one of {', '.join(values)}.")


def concept(scene: Scene) -> str:
    """Return all attributes but the variant as one name that is safe in a path, e.g. ``small_red_fish_left_sky``."""
    return f"{scene.size}_{scene.color}_{scene.kind}_{scene.place}_{scene.background}"


def caption(scene: Scene) -> str:
    """Describe a scene in words, e.g. ``a small red fish on the left, in the sky``. Variants share their caption."""
    return (
        f"a {scene.size} {scene.color} {scene.kind} {PLACE_WORDS[scene.place]}, "
        f"{BACKGROUND_WORDS[scene.background]}"
    )


def is_reserved(scene: Scene) -> bool:
    """Return whether a scene's concept is kept for tests: a fixed eighth, chosen by a checksum of its name."""
    return zlib.crc32(concept(scene).encode()) % 8 == 0


@cache
def all_scenes(reserved: bool) -> tuple[Scene, ...]:
    """Return variant 0 of every reserved (or of every other) concept, in the order of `SCENE_ATTRIBUTES`."""
    scenes = (Scene(*values) for values in itertools.product(*SCENE_ATTRIBUTES.values()))
    return tuple(scene for scene in scenes if is_reserved(scene) == reserved)


def _jittered(color: RGB, rng: np.random.Generator) -> RGB:
    """Move a colour a little in hue and brightness, less than the distance to its neighbours' names."""
    hue, saturation, value = colorsys.rgb_to_hsv(*(c / 255 for c in color))
    hue = (hue + rng.uniform(-0.01, 0.01)) % 1.0
    value = min(1.0, value * rng.uniform(0.94, 1.06))
    return tuple(round(255 * c) for c in colorsys.hsv_to_rgb(hue, saturation, value))


def _mix(color: RGB, other: RGB, weight: float) -> RGB:
    return tuple(round((1 - weight) * a + weight * b) for a, b in zip(color, other, strict=True))


def _inks(main: RGB) -> dict[str, RGB]:
    """Return the palette of an object; the shade of a black object is lighter, or it would not show."""
    is_dark = sum(main) < 200
    return {
        **FIXED_INKS,
        "main": main,
        "shade": _mix(main, (255, 255, 255), 0.3) if is_dark else _mix(main, (0, 0, 0), 0.25),
        "light": _mix(main, (255, 255, 255), 0.45) if sum(main) < 700 else _mix(main, (0, 0, 0), 0.15),
    }


def _stroke(draw: ImageDraw.ImageDraw, points: np.ndarray, width: float, color: RGB, margin: float) -> None:
    """Paint one primitive (pixels), grown on every side by `margin`; joints and ends are round."""
    corners = [tuple(point) for point in points]
    if width == 0:
        draw.polygon(corners, fill=color)
        corners.append(corners[0])
    thickness = width + 2 * margin
    if thickness > 0:
        draw.line(corners, fill=color, width=max(1, round(thickness)))
        radius = thickness / 2
        for x, y in corners:
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)


def _object_box(scene: Scene, rng: np.random.Generator) -> tuple[np.ndarray, float, float]:
    """Draw centre (2,) and half side, both in picture sides, and the tilt in radians."""
    half = SIZES[scene.size] / 2
    reach = 0.5 - half - _MARGIN
    centre = 0.5 + reach * np.array(PLACES[scene.place]) + rng.uniform(-0.008, 0.008, 2)
    return centre, half * rng.uniform(0.97, 1.03), np.deg2rad(rng.uniform(-3, 3))


def _draw_object(
    image: Image.Image, shape: tuple[Primitive, ...], scene: Scene, rng: np.random.Generator
) -> None:
    """Paint the object three times: grown in white, grown less in dark, then in its inks.

    The white rim and the dark outline make any colour show on any backdrop; drawing whole silhouettes keeps the seams
    between primitives free of outlines.
    """
    draw, side = ImageDraw.Draw(image), image.width
    centre, half, tilt = _object_box(scene, rng)
    turn = np.array([[np.cos(tilt), np.sin(tilt)], [-np.sin(tilt), np.cos(tilt)]])
    strokes = [((p.points @ turn * half + centre) * side, p.width * half * side, p.ink) for p in shape]
    inks = _inks(_jittered(COLORS[scene.color], rng))
    outline = 0.016 * side * rng.uniform(0.85, 1.15)
    for points, width, _ in strokes:
        _stroke(draw, points, width, FIXED_INKS["white"], outline + 0.014 * side)
    for points, width, _ in strokes:
        _stroke(draw, points, width, FIXED_INKS["dark"], outline)
    for points, width, ink in strokes:
        _stroke(draw, points, width, inks[ink], 0.0)


def render(scene: Scene, size: int = 64) -> Image.Image:
    """Draw a scene.

    Parameters
    ----------
    scene : Scene
        What to draw.
    size : int
        Side of the square picture in pixels.

    Returns
    -------
    PIL.Image.Image
        RGB; the same scene gives the same bytes.
    """
    rng = np.random.default_rng([zlib.crc32(concept(scene).encode()), scene.variant])
    canvas = Image.new("RGB", (size * _SUPERSAMPLING,) * 2)
    BACKDROPS[scene.background](canvas, rng)
    _draw_object(canvas, SHAPES[scene.kind], scene, rng)
    return canvas.resize((size, size), Image.Resampling.BOX)


@cache
def _shown_values(reserved: bool) -> np.ndarray:
    """Which attribute values each of `all_scenes` shows, (n_scenes, n_values of all attributes) bool."""
    scenes = all_scenes(reserved)
    columns = [
        [getattr(scene, attribute) == value for scene in scenes]
        for attribute, values in SCENE_ATTRIBUTES.items()
        for value in values
    ]
    return np.array(columns).T


def _covering_order(shown: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Move a few scenes to the front of `order` that together show every attribute value (greedy set cover)."""
    missing = np.ones(shown.shape[1], dtype=bool)
    front: list[int] = []
    while missing.any():
        front.append(int((shown[order] & missing).sum(axis=1).argmax()))
        missing &= ~shown[order[front[-1]]]
    return np.concatenate([order[front], np.delete(order, front)])


def draw_scenes(
    n_train_concepts: int, images_per_concept: int, n_test_concepts: int, gallery_per_concept: int, seed: int
) -> tuple[list[Scene], list[Scene], list[Scene]]:
    """Draw the stimuli of one study.

    Parameters
    ----------
    n_train_concepts : int
        Training concepts, at least 16, so that every attribute value occurs among them.
    images_per_concept : int
        Variants of every training concept.
    n_test_concepts : int
        Test concepts, all reserved, so that their combinations of attributes never occur in training.
    gallery_per_concept : int
        Further variants of every test concept, for concept-centre galleries; the test picture itself is variant 0.
    seed : int
        Chooses the concepts.

    Returns
    -------
    train, test, gallery : list of Scene
        ``n_train_concepts * images_per_concept``, ``n_test_concepts`` and ``n_test_concepts * gallery_per_concept``
        scenes, concept after concept.

    Raises
    ------
    NeurodecError
        If more concepts are asked than exist, or fewer training concepts than show every attribute value.
    """
    rng = np.random.default_rng(seed)
    pools = all_scenes(False), all_scenes(True)
    orders = [rng.permutation(len(pool)) for pool in pools]
    smallest = max(map(len, SCENE_ATTRIBUTES.values()))
    for name, wanted, low, high in (
        ("training", n_train_concepts, smallest, len(pools[0])),
        ("test", n_test_concepts, 1, len(pools[1])),
    ):
        if not low <= wanted <= high:
            raise NeurodecError(f"{wanted} {name} concepts were asked; scenes give {low} to {high} of them.")
    orders[0] = _covering_order(_shown_values(False), orders[0])
    train_concepts = [pools[0][i] for i in orders[0][:n_train_concepts]]
    test = [pools[1][i] for i in orders[1][:n_test_concepts]]
    train = [replace(scene, variant=i) for scene in train_concepts for i in range(images_per_concept)]
    gallery = [replace(scene, variant=1 + i) for scene in test for i in range(gallery_per_concept)]
    return train, test, gallery


def scene_pixels(scenes: Sequence[Scene], n_variants: int = 1) -> torch.Tensor:
    """Render `n_variants` pictures of every concept, for training a network.

    Parameters
    ----------
    scenes : sequence of Scene
        Their own variant is the first one.
    n_variants : int
        The pictures of one variant follow those of the one before.

    Returns
    -------
    Tensor, shape (n_variants * n_scenes, 3, 64, 64), uint8
    """
    shown = [replace(scene, variant=scene.variant + i) for i in range(n_variants) for scene in scenes]
    pictures = [np.asarray(render(scene)) for scene in track(shown, "Rendering scenes")]
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()
