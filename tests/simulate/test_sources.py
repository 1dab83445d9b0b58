import mne
import numpy as np
import pytest

from neurodec.data.readers.datasets.things_eeg2 import CHANNELS
from neurodec.simulate.meg_recording import ctf_info
from neurodec.simulate.sources import AREAS, INNER_RADIUS, eeg_info, gain, orient, scatter


def test_an_occipital_dipole_is_largest_over_the_occiput():
    info = eeg_info(CHANNELS, 250.0)
    gains = gain(info, np.array([[0.0, -0.07, 0.0]]), np.array([[0.0, -1.0, 0.0]]))[:, 0]
    assert CHANNELS[np.abs(gains).argmax()] == "Oz"
    np.testing.assert_allclose(gains.sum(), 0.0, atol=1e-12 * np.abs(gains).sum())  # average reference


def test_ten_nanoampere_metres_give_microvolts():
    gains = gain(eeg_info(CHANNELS, 250.0), np.array([[0.0, -0.07, 0.0]]), np.array([[0.0, -1.0, 0.0]]))
    assert 1e-6 < np.abs(gains).max() * 10e-9 < 20e-6


def test_a_sphere_hides_radial_dipoles_from_meg():
    position = np.array([[0.02, -0.05, 0.03]])
    radial = position / np.linalg.norm(position)
    tangential = np.cross(radial, [[0.0, 0.0, 1.0]])
    tangential /= np.linalg.norm(tangential)
    info = ctf_info()
    silent, heard = (np.abs(gain(info, position, axis)).max() for axis in (radial, tangential))
    assert silent < 1e-6 * heard
    assert 1e-14 < heard * 10e-9 < 1e-12  # tesla


def test_the_helmet_has_distinct_outward_gradiometers():
    info = ctf_info()
    assert len(set(info["ch_names"])) == 91
    assert all(name[:2] in ("ML", "MR", "MZ") and name[2] in "FCTPO" for name in info["ch_names"])
    positions = np.array([channel["loc"][:3] for channel in info["chs"]]) - [0, 0, 0.04]
    axes = np.array([channel["loc"][3:].reshape(3, 3) for channel in info["chs"]])
    np.testing.assert_allclose(
        axes @ axes.transpose(0, 2, 1), np.broadcast_to(np.eye(3), axes.shape), atol=1e-9
    )
    np.testing.assert_allclose(np.linalg.det(axes), 1.0)
    np.testing.assert_allclose(positions / 0.115, axes[:, 2], atol=1e-9)
    assert mne.channel_type(info, 0) == "mag"


@pytest.mark.parametrize("area", AREAS, ids=lambda area: area.name)
def test_sources_lie_inside_the_brain_and_in_both_hemispheres(area, rng):
    positions = scatter(np.array(area.centre), area.n_sources, 0.006, rng)
    assert (np.linalg.norm(positions, axis=1) < INNER_RADIUS).all()
    assert (positions[::2, 0].mean() > 0) and (positions[1::2, 0].mean() < 0)  # noqa: PT018
    np.testing.assert_allclose(np.linalg.norm(orient(positions, 0.6, rng), axis=1), 1.0)
