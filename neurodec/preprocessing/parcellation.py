"""Parcels in place of voxels: means within labels, amplitudes of overlapping maps, and a plain grid of cubes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from neurodec.errors import NeurodecError

_AT_ONCE = 64  # volumes that are held in double precision


@dataclass(frozen=True)
class Parcels:
    """Parcels on the voxels of a mask.

    Parameters
    ----------
    weights : sparse array, shape (n_parcels, n_voxels)
        One product with a series gives its parcels; of overlapping maps, `mixing` follows.
    mixing : ndarray, shape (n_parcels, n_parcels), optional
        Turns the products with maps into least-squares amplitudes.
    labels : ndarray of int, shape (n_voxels,)
        The parcel to which every voxel belongs most, from 0; -1 for none. For pictures of the brain.
    """

    weights: sparse.csr_array
    labels: np.ndarray
    mixing: np.ndarray | None = None

    @classmethod
    def of_labels(cls, labels: np.ndarray, values: Sequence[int]) -> Parcels:
        """Take the mean within every label, as nilearn's `NiftiLabelsMasker` does.

        Parameters
        ----------
        labels : ndarray of int, shape (n_voxels,)
        values : sequence of int
            Label of every parcel, in order. A label without a voxel gives zeros.
        """
        places = {int(value): number for number, value in enumerate(values)}
        codes = np.array([places.get(int(label), -1) for label in np.unique(labels)])
        codes = codes[np.unique(labels, return_inverse=True)[1]].reshape(-1)
        voxels = np.flatnonzero(codes >= 0)
        counts = np.bincount(codes[voxels], minlength=len(values))
        share = 1 / counts[codes[voxels]]
        weights = sparse.csr_array((share, (codes[voxels], voxels)), shape=(len(values), len(codes)))
        return cls(weights, codes)

    @classmethod
    def of_maps(cls, maps: np.ndarray) -> Parcels:
        """Take the amplitudes that explain a volume best, as nilearn's `NiftiMapsMasker` does.

        Parameters
        ----------
        maps : ndarray, shape (n_parcels, n_voxels)
            Probabilistic, such as DiFuMo's. One that is zero everywhere gives zeros.
        """
        weights = sparse.csr_array(maps.astype(np.float64))
        gram = (weights @ weights.T).toarray()
        labels = np.where(maps.max(axis=0) > 0, maps.argmax(axis=0), -1)
        return cls(weights, labels, np.linalg.pinv(gram, rcond=1e-12, hermitian=True))

    @property
    def n_parcels(self) -> int:
        """Number of parcels."""
        return self.weights.shape[0]

    @property
    def empty(self) -> np.ndarray:
        """Numbers of the parcels without a voxel."""
        return np.flatnonzero(np.diff(self.weights.indptr) == 0)

    def series(self, voxels: np.ndarray) -> np.ndarray:
        """Return the parcels of a series.

        Parameters
        ----------
        voxels : ndarray, shape (n_volumes, n_voxels)

        Returns
        -------
        ndarray, shape (n_volumes, n_parcels), float32
        """
        found = np.empty((self.n_parcels, len(voxels)))
        for start in range(0, len(voxels), _AT_ONCE):
            found[:, start : start + _AT_ONCE] = self.weights @ voxels[start : start + _AT_ONCE].T
        if self.mixing is not None:
            found = self.mixing @ found
        return found.T.astype(np.float32)


def grid_labels(mask: np.ndarray, affine: np.ndarray, side: float) -> tuple[np.ndarray, list[str]]:
    """Divide a mask into cubes, for want of an atlas.

    Parameters
    ----------
    mask : ndarray of bool, shape (x, y, z)
    affine : ndarray, shape (4, 4)
        Voxel to millimetres.
    side : float
        Of a cube (mm). Cubes lie at multiples of it from the origin, so that people in one space have the same ones.

    Returns
    -------
    labels : ndarray of int, shape (n_voxels,)
        From 1.
    names : list of str
        ``x+24_y-60_z+12``: the centre of every cube (mm).

    Raises
    ------
    NeurodecError
        If the side is no length.
    """
    if not side > 0:
        raise NeurodecError(f"The side of a grid's cubes is {side:g} mm; give a length above 0.")
    places = np.argwhere(mask) @ affine[:3, :3].T + affine[:3, 3]
    cubes, labels = np.unique(np.floor(places / side + 1e-6).astype(int), axis=0, return_inverse=True)
    names = ["x{:+g}_y{:+g}_z{:+g}".format(*((cube + 0.5) * side)) for cube in cubes]
    return labels.reshape(-1) + 1, names
