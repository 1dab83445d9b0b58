"""Interpolation of electrodes by spherical splines: one fixed matrix from the channels of a cap to those of another."""

from __future__ import annotations

import numpy as np
from scipy.special import eval_legendre

from neurodec.errors import NeurodecError

_STIFFNESS, _N_TERMS, _REGULARISATION = 4, 50, 1e-5
_ON_A_SPHERE = 6  # electrodes that a sphere can be fitted to
_CENTRE = np.array([0.0, 0.0, 0.04])  # of most heads, in the head frame (m)


def spline_matrix(known: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the matrix (n_wanted, n_known) that takes potentials at some electrodes to those at others.

    Parameters
    ----------
    known, wanted : ndarray, shape (n, 3)
        Places in one frame, metres; only directions from the centre of the head count.

    Raises
    ------
    NeurodecError
        If there are fewer than three electrodes, or a place is unknown.

    Notes
    -----
    With the stiffness, number of terms and regularisation of ``mne.io.Raw.interpolate_bads``. The average of the known
    electrodes is kept. Cost: one solve of ``n_known`` unknowns.

    References
    ----------
    Perrin, Pernier, Bertrand & Echallier (1989), Spherical splines for scalp potential and current density mapping,
    equations 1 to 3.
    """
    known, wanted = np.asarray(known, dtype=float), np.asarray(wanted, dtype=float)
    if len(known) < 3 or not (np.isfinite(known).all() and np.isfinite(wanted).all()):
        raise NeurodecError(
            f"Interpolation needs the places of at least three electrodes, and there are {len(known)}; set a montage."
        )
    centre = _centre_of(known)
    from_, to = (
        (places - centre) / np.linalg.norm(places - centre, axis=1, keepdims=True)
        for places in (known, wanted)
    )
    n = len(from_)
    among = _spline(np.clip(from_ @ from_.T, -1, 1)) + _REGULARISATION * np.eye(n)
    system = np.block([[among, np.ones((n, 1))], [np.ones((1, n)), np.zeros((1, 1))]])
    across = np.hstack([_spline(np.clip(to @ from_.T, -1, 1)), np.ones((len(to), 1))])
    return (across @ np.linalg.inv(system))[:, :n]


def _spline(cosines: np.ndarray) -> np.ndarray:
    """Return Perrin's g of the cosines between electrodes."""
    found = np.zeros_like(cosines)
    for term in range(1, _N_TERMS + 1):
        weight = (2 * term + 1) / (term**_STIFFNESS * (term + 1) ** _STIFFNESS * 4 * np.pi)
        found += weight * eval_legendre(term, cosines)
    return found


def _centre_of(places: np.ndarray) -> np.ndarray:
    """Return the centre of the sphere nearest to electrodes, by least squares."""
    if len(places) < _ON_A_SPHERE:
        return _CENTRE
    system = np.hstack([2 * places, np.ones((len(places), 1))])
    found, _, rank, _ = np.linalg.lstsq(system, (places**2).sum(axis=1), rcond=None)
    return found[:3] if rank == 4 else _CENTRE
