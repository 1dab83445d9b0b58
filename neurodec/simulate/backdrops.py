"""Six places a scene can happen in, each drawn on a `PIL.ImageDraw` canvas from a seeded generator.

A place looks nearly the same every time. Its details move by a few hundredths of the picture from one variant to the
next: no caption tells where they are, so no embedding trained on captions can, and no decoder could draw them again.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

RGB = tuple[int, int, int]
Backdrop = Callable[[Image.Image, np.random.Generator], None]

_layout = np.random.default_rng(0)
_CLOUDS = ((0.17, 0.2), (0.5, 0.78), (0.83, 0.42))
_BLADES = _layout.uniform((0, 0, -0.02), (1, 1.05, 0.02), (80, 3))  # x, y and lean
_RIPPLES = _layout.uniform(0, 2 * np.pi, 6)
_PEBBLES = _layout.uniform(0, 1, (110, 2))
_CELLS = np.stack(np.indices((5, 5)), axis=-1)
_STARS = (_CELLS + _layout.uniform(0.2, 0.8, (5, 5, 2))).reshape(-1, 2) / 5  # one a cell: no part is empty
"""Where things are, in picture sides, before each variant moves them."""


def _gradient(image: Image.Image, top: RGB, bottom: RGB) -> None:
    """Fill the canvas from `top` to `bottom`."""
    weight = np.linspace(0.0, 1.0, image.height)[:, None, None]
    rows = np.array(top) * (1 - weight) + np.array(bottom) * weight
    image.paste(Image.fromarray(np.repeat(rows.round().astype(np.uint8), image.width, axis=1)))


def _sky(image: Image.Image, rng: np.random.Generator) -> None:
    _gradient(image, (105, 175, 235), (200, 230, 250))
    draw, side = ImageDraw.Draw(image), image.width
    for x, y in (_CLOUDS + rng.uniform(-0.02, 0.02, (3, 2))) * side:
        for dx, dy, radius in ((-0.085, 0.015, 0.05), (0.0, -0.02, 0.07), (0.085, 0.015, 0.055)):
            cx, cy, r = x + dx * side, y + dy * side, radius * side
            draw.ellipse((cx - r, cy - r, cx + r, cy + r), fill=(252, 252, 255))


def _grass(image: Image.Image, rng: np.random.Generator) -> None:
    _gradient(image, (168, 205, 110), (138, 182, 84))
    draw, side = ImageDraw.Draw(image), image.width
    for x, y, lean in (_BLADES + np.append(rng.uniform(-0.01, 0.01, 2), 0)) * side:
        for tilt in (-0.018, 0.0, 0.018):
            tip = (x + lean + tilt * side, y - 0.055 * side)
            draw.line([(x, y), tip], fill=(96, 142, 50), width=max(1, round(side * 0.013)))


def _sand(image: Image.Image, rng: np.random.Generator) -> None:
    _gradient(image, (240, 222, 176), (224, 198, 144))
    draw, side = ImageDraw.Draw(image), image.width
    x = np.linspace(0, side, 65)
    for row, phase in enumerate(_RIPPLES + rng.uniform(-0.5, 0.5)):
        wave = np.sin(x / side * 2 * np.pi * 1.5 + phase) * 0.014 * side
        points = list(zip(x, wave + side * (row + rng.uniform(0.47, 0.53)) / 6, strict=True))
        draw.line(points, fill=(202, 172, 116), width=max(1, round(side * 0.016)))
    for x0, y0 in (_PEBBLES + rng.uniform(-0.01, 0.01, 2)) * side:
        r = 0.007 * side
        draw.ellipse((x0 - r, y0 - r, x0 + r, y0 + r), fill=(178, 146, 92))


def _night(image: Image.Image, rng: np.random.Generator) -> None:
    _gradient(image, (16, 20, 58), (46, 50, 108))
    draw, side = ImageDraw.Draw(image), image.width
    for x, y in (_STARS + rng.uniform(-0.01, 0.01, 2)) * side:
        r = rng.uniform(0.014, 0.024) * side
        corners = [(x, y - 2 * r), (x + r / 2, y - r / 2), (x + 2 * r, y), (x + r / 2, y + r / 2)]
        corners += [(x, y + 2 * r), (x - r / 2, y + r / 2), (x - 2 * r, y), (x - r / 2, y - r / 2)]
        draw.polygon(corners, fill=(250, 240, 180))


def _bricks(image: Image.Image, rng: np.random.Generator) -> None:
    _gradient(image, (222, 208, 196), (222, 208, 196))
    draw, side = ImageDraw.Draw(image), image.width
    n_rows, mortar, offset = 8, 0.014 * side, rng.uniform(0, 0.08)
    height, width = side / n_rows, side / 4
    for row in range(n_rows):
        for column in range(-1, 5):
            x = (column + offset + 0.5 * (row % 2)) * width
            y = row * height
            tone = rng.uniform(-5, 5)
            color = tuple(round(c + tone) for c in (172, 104, 88))
            draw.rectangle((x + mortar, y + mortar, x + width - mortar, y + height - mortar), fill=color)


def _checks(image: Image.Image, rng: np.random.Generator) -> None:
    _gradient(image, (226, 226, 230), (226, 226, 230))
    draw, side = ImageDraw.Draw(image), image.width
    cell = side / 6
    shift_x, shift_y = rng.uniform(-0.08, 0.08, 2) * cell
    for row in range(-1, 8):
        for column in range(-1, 8):
            if (row + column) % 2:
                x, y = column * cell + shift_x, row * cell + shift_y
                draw.rectangle((x, y, x + cell, y + cell), fill=(128, 130, 138))


BACKDROPS: dict[str, Backdrop] = {
    "sky": _sky,
    "grass": _grass,
    "sand": _sand,
    "night": _night,
    "bricks": _bricks,
    "checks": _checks,
}
"""Painters by name: ``painter(image, rng)`` fills the whole square RGB image in place."""
