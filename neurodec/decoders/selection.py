"""Choosing one of several samples drawn for the same response."""

from __future__ import annotations

import numpy as np

from neurodec.errors import NeurodecError


def select(samples_features: np.ndarray, decoded_embeddings: np.ndarray) -> np.ndarray:
    """Choose the sample most similar to what was decoded from the brain; the true picture plays no part.

    Parameters
    ----------
    samples_features : ndarray, shape (n, n_samples, D)
        Embeddings of the drawn pictures, in the space of the decoded ones.
    decoded_embeddings : ndarray, shape (n, D)
        What the pictures were drawn from.

    Returns
    -------
    ndarray of int, shape (n,)
        Per row the sample of the largest cosine; the first of equal ones.

    Raises
    ------
    NeurodecError
        If the shapes do not belong together, or a value is not finite.
    """
    samples = np.asarray(samples_features, np.float64)
    wanted = np.asarray(decoded_embeddings, np.float64)
    if samples.ndim != 3 or samples.shape[1] < 1 or wanted.shape != (len(samples), samples.shape[-1]):
        raise NeurodecError(
            f"The samples have shape {samples.shape} and the decoded embeddings {wanted.shape}; give "
            "(n, n_samples, D) and (n, D)."
        )
    for kind, values in (("samples", samples), ("decoded embeddings", wanted)):
        if not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))[0])
            raise NeurodecError(f"The {kind} hold NaN or infinity, first in row {row}; draw that row again.")
    lengths = np.maximum(np.linalg.norm(samples, axis=-1), np.finfo(np.float64).tiny)
    # The length of the wanted embedding changes no order; rounding lets equal pictures tie.
    cosines = np.einsum("nsd,nd->ns", samples, wanted) / lengths
    return np.argmax(np.round(cosines, 10), axis=1)
