"""Sixteen objects drawn from primitives: each is a short table that reads like a drawing lesson.

Coordinates are in the object's own box, x to the right and y down, both from -1 to 1. A primitive is either a
filled polygon or a thick line; an ellipse is a polygon of many corners. Its `ink` names what it is painted with:
``main`` is the colour of the scene, ``shade`` and ``light`` its darker and lighter neighbours, the others are fixed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Ink = Literal["main", "shade", "light", "dark", "white", "cream", "wood", "glass", "leaf", "gold", "flame"]


@dataclass(frozen=True)
class Primitive:
    """One stroke of an object.

    Attributes
    ----------
    points : np.ndarray
        Corners, shape (n_points, 2), in the object's box.
    ink : Ink
        What it is painted with.
    width : float
        0 for a filled polygon, else the width of an open line, in units of the box.
    """

    points: np.ndarray
    ink: Ink
    width: float = 0.0


def _fill(ink: Ink, *points: tuple[float, float]) -> Primitive:
    return Primitive(np.array(points, dtype=float), ink)


def _line(ink: Ink, width: float, *points: tuple[float, float]) -> Primitive:
    return Primitive(np.array(points, dtype=float), ink, width)


def _arc(cx: float, cy: float, rx: float, ry: float, start: float, stop: float) -> np.ndarray:
    """Points on an ellipse from angle `start` to `stop` in degrees, clockwise on the screen, 0 to the right."""
    angles = np.deg2rad(np.linspace(start, stop, 33))
    return np.stack([cx + rx * np.cos(angles), cy + ry * np.sin(angles)], axis=1)


def _disc(ink: Ink, cx: float, cy: float, rx: float, ry: float | None = None) -> Primitive:
    return Primitive(_arc(cx, cy, rx, rx if ry is None else ry, 0, 360), ink)


def _half(ink: Ink, cx: float, cy: float, rx: float, ry: float) -> Primitive:
    """Return the upper half of an ellipse."""
    return Primitive(_arc(cx, cy, rx, ry, 180, 360), ink)


def _curve(
    ink: Ink, width: float, cx: float, cy: float, rx: float, ry: float, start: float, stop: float
) -> Primitive:
    return Primitive(_arc(cx, cy, rx, ry, start, stop), ink, width)


def _rect(ink: Ink, left: float, top: float, right: float, bottom: float) -> Primitive:
    return _fill(ink, (left, top), (right, top), (right, bottom), (left, bottom))


def _mirrored(*primitives: Primitive) -> tuple[Primitive, ...]:
    """Return each primitive with its mirror image beside it."""
    flip = np.array([-1.0, 1.0])
    return tuple(q for p in primitives for q in (p, Primitive(p.points * flip, p.ink, p.width)))


SHAPES: dict[str, tuple[Primitive, ...]] = {
    "house": (
        _rect("shade", 0.38, -0.85, 0.62, -0.3),
        _rect("main", -0.75, -0.15, 0.75, 1.0),
        _fill("shade", (-1.0, -0.1), (0.0, -1.0), (1.0, -0.1)),
        _rect("wood", -0.5, 0.25, -0.05, 1.0),
        _rect("glass", 0.15, 0.15, 0.58, 0.58),
        _line("dark", 0.06, (0.365, 0.15), (0.365, 0.58)),
        _line("dark", 0.06, (0.15, 0.365), (0.58, 0.365)),
    ),
    "tree": (
        _fill("wood", (-0.16, 0.2), (0.16, 0.2), (0.22, 1.0), (-0.22, 1.0)),
        *_mirrored(_disc("main", 0.42, 0.0, 0.46)),
        _disc("main", 0.0, -0.42, 0.56),
        _disc("main", 0.0, 0.1, 0.4),
        _curve("shade", 0.08, -0.2, -0.4, 0.3, 0.3, 190, 280),
        _curve("shade", 0.08, 0.45, 0.0, 0.26, 0.26, -20, 70),
        _curve("shade", 0.08, -0.45, 0.02, 0.24, 0.24, 110, 190),
    ),
    "cup": (
        _curve("main", 0.2, 0.5, 0.1, 0.42, 0.36, -90, 90),
        _fill("main", (-0.85, -0.6), (0.55, -0.6), (0.4, 0.8), (-0.7, 0.8)),
        _disc("main", -0.15, 0.8, 0.55, 0.16),
        _disc("light", -0.15, -0.6, 0.7, 0.24),
        _disc("wood", -0.15, -0.56, 0.54, 0.15),
        _line("light", 0.1, (-0.62, -0.2), (-0.54, 0.55)),
    ),
    "fish": (
        _fill("shade", (0.4, 0.0), (1.0, -0.6), (0.86, 0.0), (1.0, 0.6)),
        _fill("shade", (-0.25, -0.45), (0.15, -0.85), (0.4, -0.3)),
        _disc("main", -0.2, 0.0, 0.78, 0.55),
        _curve("shade", 0.08, -0.75, 0.0, 0.42, 0.5, -50, 50),
        _fill("shade", (-0.1, 0.1), (0.32, -0.1), (0.32, 0.35)),
        _disc("white", -0.62, -0.14, 0.17),
        _disc("dark", -0.65, -0.14, 0.09),
    ),
    "car": (
        _fill("main", (-0.55, -0.05), (-0.35, -0.6), (0.3, -0.6), (0.6, -0.05)),
        _fill(
            "main",
            (-1.0, 0.05),
            (-0.9, -0.1),
            (0.85, -0.1),
            (1.0, 0.1),
            (1.0, 0.45),
            (0.92, 0.5),
            (-1.0, 0.5),
        ),
        _fill("glass", (-0.4, -0.08), (-0.26, -0.45), (-0.06, -0.45), (-0.06, -0.08)),
        _fill("glass", (0.06, -0.08), (0.06, -0.45), (0.22, -0.45), (0.42, -0.08)),
        _line("shade", 0.07, (-0.9, 0.2), (0.95, 0.2)),
        _disc("gold", 0.9, 0.08, 0.1),
        *(
            _disc(ink, x, 0.5, radius)
            for x in (-0.55, 0.55)
            for ink, radius in (("dark", 0.29), ("white", 0.13))
        ),
    ),
    "key": (
        _curve("main", 0.28, -0.55, 0.0, 0.32, 0.32, 0, 360),
        _line("main", 0.24, (-0.2, 0.0), (0.95, 0.0)),
        _line("main", 0.2, (0.5, 0.0), (0.5, 0.42)),
        _line("main", 0.2, (0.86, 0.0), (0.86, 0.5)),
        _line("light", 0.07, (-0.1, -0.04), (0.9, -0.04)),
    ),
    "boat": (
        _line("wood", 0.1, (0.0, -0.95), (0.0, 0.4)),
        _fill("light", (0.1, -0.9), (0.85, 0.2), (0.1, 0.2)),
        _fill("white", (-0.1, -0.7), (-0.1, 0.2), (-0.7, 0.2)),
        _fill("main", (-1.0, 0.35), (1.0, 0.35), (0.65, 0.9), (-0.65, 0.9)),
        _line("shade", 0.08, (-0.85, 0.52), (0.85, 0.52)),
    ),
    "umbrella": (
        _line("dark", 0.09, (0.0, -0.95), (0.0, 0.75)),
        _curve("dark", 0.11, 0.2, 0.72, 0.2, 0.2, 0, 180),
        Primitive(
            np.concatenate(
                [_arc(0, 0.05, 1.0, 0.85, 180, 360)]
                + [_arc(x, 0.05, 0.25, 0.16, 0, -180) for x in (0.75, 0.25, -0.25, -0.75)]
            ),
            "main",
        ),
        _curve("shade", 0.07, 0.0, -0.1, 0.5, 0.68, 180, 270),
        _curve("shade", 0.07, 0.0, -0.1, 0.5, 0.68, 270, 360),
    ),
    "mushroom": (
        _fill("cream", (-0.25, -0.1), (0.25, -0.1), (0.38, 0.9), (0.2, 1.0), (-0.2, 1.0), (-0.38, 0.9)),
        _half("main", 0.0, 0.1, 1.0, 1.05),
        _disc("main", 0.0, 0.1, 1.0, 0.14),
        _disc("white", -0.45, -0.3, 0.19),
        _disc("white", 0.1, -0.6, 0.17),
        _disc("white", 0.52, -0.2, 0.2),
        _disc("white", 0.0, -0.1, 0.12),
    ),
    "rocket": (
        _fill("flame", (-0.22, 0.55), (0.22, 0.55), (0.0, 1.0)),
        *_mirrored(_fill("shade", (0.25, 0.1), (0.68, 0.55), (0.62, 0.78), (0.2, 0.55))),
        _fill(
            "main",
            *((0.0, -1.0), (0.24, -0.68), (0.34, -0.3), (0.34, 0.25), (0.24, 0.62)),
            *((-0.24, 0.62), (-0.34, 0.25), (-0.34, -0.3), (-0.24, -0.68)),
        ),
        _fill("shade", (0.0, -1.0), (0.24, -0.68), (0.28, -0.55), (-0.28, -0.55), (-0.24, -0.68)),
        _disc("white", 0.0, -0.15, 0.21),
        _disc("glass", 0.0, -0.15, 0.14),
    ),
    "flower": (
        _line("leaf", 0.12, (0.0, 0.0), (0.0, 1.0)),
        _fill("leaf", (0.0, 0.85), (0.2, 0.5), (0.6, 0.42), (0.42, 0.75)),
        *(
            _disc("main", 0.42 * np.cos(angle), -0.38 + 0.42 * np.sin(angle), 0.27)
            for angle in np.deg2rad(np.arange(-90, 270, 60))
        ),
        _disc("gold", 0.0, -0.38, 0.26),
        _disc("wood", 0.0, -0.38, 0.1),
    ),
    "butterfly": (
        *_mirrored(
            _fill("main", (0.05, -0.1), (0.3, -0.72), (0.75, -0.9), (1.0, -0.6), (0.85, -0.1), (0.1, 0.1)),
            _fill("main", (0.05, 0.0), (0.7, 0.05), (0.8, 0.4), (0.5, 0.8), (0.2, 0.55)),
            _disc("light", 0.68, -0.48, 0.17),
            _disc("light", 0.5, 0.36, 0.14),
            _line("dark", 0.06, (0.03, -0.5), (0.25, -0.95)),
        ),
        _disc("dark", 0.0, 0.05, 0.1, 0.62),
    ),
    "cat": (
        *_mirrored(
            _fill("main", (0.1, -0.55), (0.72, -1.0), (0.8, -0.2)),
            _fill("shade", (0.36, -0.6), (0.64, -0.78), (0.66, -0.42)),
        ),
        _disc("main", 0.0, 0.12, 0.86, 0.74),
        *_mirrored(
            _disc("white", 0.34, 0.0, 0.18, 0.21),
            _disc("dark", 0.34, 0.02, 0.09, 0.16),
            _line("dark", 0.05, (0.28, 0.42), (0.98, 0.3)),
            _line("dark", 0.05, (0.28, 0.5), (0.95, 0.6)),
        ),
        _fill("cream", (-0.14, 0.28), (0.14, 0.28), (0.0, 0.45)),
        *_mirrored(_curve("dark", 0.06, 0.11, 0.5, 0.11, 0.1, 10, 180)),
    ),
    "chair": (
        _line("main", 0.2, (-0.5, -0.9), (-0.5, 0.1)),
        _line("main", 0.2, (0.5, -0.9), (0.5, 0.1)),
        _line("main", 0.2, (-0.5, -0.8), (0.5, -0.8)),
        _line("main", 0.2, (-0.5, -0.4), (0.5, -0.4)),
        _line("shade", 0.16, (-0.42, 0.2), (-0.42, 0.75)),
        _line("shade", 0.16, (0.42, 0.2), (0.42, 0.75)),
        _line("main", 0.2, (-0.66, 0.3), (-0.66, 0.98)),
        _line("main", 0.2, (0.66, 0.3), (0.66, 0.98)),
        _fill("main", (-0.55, -0.02), (0.55, -0.02), (0.78, 0.34), (-0.78, 0.34)),
        _line("light", 0.07, (-0.5, 0.08), (0.5, 0.08)),
    ),
    "hat": (
        _fill("main", (-0.58, -0.8), (0.58, -0.8), (0.5, 0.5), (-0.5, 0.5)),
        _disc("main", 0.0, 0.5, 1.0, 0.28),
        _fill("light", (-0.53, 0.02), (0.53, 0.02), (0.5, 0.36), (-0.5, 0.36)),
        _disc("shade", 0.0, -0.8, 0.58, 0.16),
    ),
    "duck": (
        _fill("main", (0.5, 0.25), (1.0, -0.2), (0.85, 0.5)),
        _disc("main", 0.1, 0.45, 0.82, 0.48),
        _disc("main", -0.38, -0.4, 0.44),
        _fill("flame", (-0.72, -0.5), (-1.0, -0.3), (-0.98, -0.14), (-0.7, -0.2)),
        _disc("white", -0.48, -0.5, 0.13),
        _disc("dark", -0.5, -0.5, 0.075),
        _disc("shade", 0.28, 0.38, 0.4, 0.24),
    ),
}
"""Strokes of every object, painted from first to last."""
