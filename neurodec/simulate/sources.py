"""Where the simulated brain's sources lie and what sensors see of them (MNE's spherical head model)."""

from __future__ import annotations

from dataclasses import dataclass

import mne
import numpy as np

INNER_RADIUS = 0.078  # metres; sources stay inside the innermost sphere of the model (0.081 at a 90 mm head)
HEAD_RADIUS = 0.09


@dataclass(frozen=True)
class Area:
    """A visual area: what drives it, where it lies, when and how it answers.

    Attributes
    ----------
    name : str
        Name in the provenance.
    drive : str
        Which stage of `StimulusDrive` feeds it.
    centre : tuple of float
        Right-hemisphere centre relative to the sphere's centre, metres (x right, y front, z up); half of the sources
        lie mirrored on the left.
    n_sources : int
        Dipoles, one per driven unit.
    latency, width : float
        Peak and standard deviation of the phase-locked answer, seconds.
    rhythm : float
        Frequency of the burst, hertz. Its phase is new in every trial.
    burst_latency, burst_width : float
        Peak and standard deviation of the burst's envelope, seconds.
    jitter : float
        Standard deviation of the latency over trials, seconds. Later areas are less reliable in time.
    """

    name: str
    drive: str
    centre: tuple[float, float, float]
    n_sources: int
    latency: float
    width: float
    rhythm: float
    burst_latency: float
    burst_width: float
    jitter: float


NANO = 1e-9  # ampere metres
# Latencies: Dicarlo et al. (2012, doi:10.1016/j.neuron.2012.01.010); rhythms of 12 to 40 Hz that follow the stimulus
# without locking to it: Tallon-Baudry & Bertrand (1999, doi:10.1016/S1364-6613(99)01299-1).
AREAS = (
    Area("V1", "pixels", (0.010, -0.066, 0.008), 12, 0.09, 0.015, 40.0, 0.17, 0.035, 0.006),
    Area("V2", "early", (0.020, -0.062, -0.010), 12, 0.12, 0.020, 32.0, 0.20, 0.035, 0.010),
    Area("V4", "middle", (0.034, -0.052, -0.018), 12, 0.16, 0.025, 25.0, 0.24, 0.040, 0.016),
    Area("LO", "late", (0.044, -0.044, 0.006), 12, 0.20, 0.030, 19.0, 0.28, 0.045, 0.022),
    Area("IT", "embedding", (0.050, -0.026, -0.022), 12, 0.25, 0.035, 14.0, 0.34, 0.050, 0.030),
    Area("IPS", "embedding", (0.026, -0.040, 0.050), 12, 0.28, 0.040, 22.0, 0.40, 0.050, 0.030),
)


def scatter(centre: np.ndarray, n_sources: int, spread: float, rng: np.random.Generator) -> np.ndarray:
    """Draw dipole positions (n_sources, 3) around a centre and its mirror image, inside the inner sphere."""
    mirror = np.where(np.arange(n_sources) % 2, -1.0, 1.0)
    positions = centre * np.stack([mirror, np.ones(n_sources), np.ones(n_sources)], axis=1)
    positions = positions + rng.normal(scale=spread, size=positions.shape)
    radius = np.linalg.norm(positions, axis=1, keepdims=True)
    return positions * np.minimum(1.0, 0.95 * INNER_RADIUS / radius)


def cortex(n_sources: int, rng: np.random.Generator) -> np.ndarray:
    """Draw dipole positions (n_sources, 3) over the upper part of a cortical shell."""
    direction = rng.normal(size=(n_sources, 3))
    direction[:, 2] = np.abs(direction[:, 2]) - 0.3
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return direction * INNER_RADIUS * rng.uniform(0.6, 0.95, (n_sources, 1))


def orient(positions: np.ndarray, tangential: float, rng: np.random.Generator) -> np.ndarray:
    """Draw unit orientations (n, 3): radial plus a random vector of weight `tangential` (folding differs by person)."""
    radial = positions / np.linalg.norm(positions, axis=1, keepdims=True)
    vectors = radial + tangential * rng.normal(size=positions.shape)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def montage(ch_names: list[str]) -> mne.channels.DigMontage:
    """Return MNE's template positions of extended 10-20 electrodes on a 90 mm head."""
    try:
        return mne.channels.make_standard_montage("colin27_1005", head_size=HEAD_RADIUS)
    except ValueError:  # its name before MNE 1.13
        return mne.channels.make_standard_montage("standard_1005", head_size=HEAD_RADIUS)


def eeg_info(ch_names: list[str], sfreq: float) -> mne.Info:
    """Return measurement info with electrode positions."""
    info = mne.create_info(ch_names, sfreq, "eeg")
    return info.set_montage(montage(ch_names))


def gain(info: mne.Info, positions: np.ndarray, orientations: np.ndarray) -> np.ndarray:
    """Solve the forward problem of fixed dipoles.

    Parameters
    ----------
    info : mne.Info
        EEG with electrode positions, or MEG with coils and `dev_head_t`.
    positions, orientations : ndarray, shape (n_sources, 3)
        Metres relative to the sphere's centre; unit vectors.

    Returns
    -------
    ndarray, shape (n_chans, n_sources)
        Volt (EEG, average reference) or tesla (MEG) per ampere metre.
    """
    is_meg = "mag" in info.get_channel_types(unique=True)
    centre = (0.0, 0.0, 0.04)
    sphere = mne.make_sphere_model(centre, HEAD_RADIUS, info=info, verbose="error")
    space = {"rr": positions + np.array(centre), "nn": orientations}
    sources = mne.setup_volume_source_space(pos=space, sphere=sphere, verbose="error")
    forward = mne.make_forward_solution(
        info, trans=None, src=sources, bem=sphere, meg=is_meg, eeg=not is_meg, mindist=0.0, verbose="error"
    )
    free = forward["sol"]["data"].reshape(len(info["ch_names"]), -1, 3)
    fixed = np.einsum("csk,sk->cs", free, orientations)
    return fixed if is_meg else fixed - fixed.mean(axis=0)
