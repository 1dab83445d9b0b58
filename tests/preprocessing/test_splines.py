"""Spherical splines: MNE's matrix, potentials of a dipole, and what they keep."""

from importlib import import_module

import numpy as np
import pytest

from neurodec.errors import NeurodecError
from neurodec.preprocessing.channels import standard_positions
from neurodec.preprocessing.splines import spline_matrix

FIRST = [
    *("Fp1", "Fp2", "F3", "F4", "C3", "C4", "P3", "P4", "O1", "O2"),
    *("F7", "F8", "T7", "T8", "P7", "P8", "Fz", "Cz", "Pz"),
]


def potential(places):
    directions = places - [0, 0, 0.04]
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return directions @ [1.0, -0.5, 2.0] + (directions @ [0.3, 1.0, 0.2]) ** 2


def test_the_matrix_is_that_of_mne():
    known, wanted = (np.array(standard_positions(names)) for names in (FIRST, ["FC3", "CP4", "POz"]))
    make = import_module("mne.channels.interpolation")._make_interpolation_matrix
    system = np.hstack([2 * known, np.ones((len(known), 1))])
    centre = np.linalg.lstsq(system, (known**2).sum(axis=1), rcond=None)[0][:3]
    np.testing.assert_allclose(spline_matrix(known, wanted), make(known - centre, wanted - centre), atol=1e-6)


def test_a_smooth_potential_is_found_between_electrodes():
    known, wanted = (np.array(standard_positions(names)) for names in (FIRST, ["FC3", "CP4", "POz", "C5"]))

    matrix = spline_matrix(known, wanted)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-9)  # a constant stays
    found, true = matrix @ potential(known), potential(wanted)
    assert np.abs(found - true).max() < 0.05 * np.ptp(potential(known))


def test_electrodes_that_are_there_stay():
    places = np.array(standard_positions(FIRST))
    np.testing.assert_allclose(
        spline_matrix(places, places) @ potential(places), potential(places), atol=0.03
    )


def test_places_must_be_known():
    with pytest.raises(NeurodecError, match="at least three electrodes, and there are 2"):
        spline_matrix(np.ones((2, 3)), np.ones((1, 3)))
    with pytest.raises(NeurodecError, match="at least three"):
        spline_matrix(np.full((4, 3), np.nan), np.ones((1, 3)))
