"""Values of parcels on a glass brain, and on the surface of fsaverage5."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import nibabel
import numpy as np
from matplotlib.figure import Figure

_COVERED = 0.3  # share of the surface that must lie in parcels; less is no brain in MNI space
_VIEWS = (("left", "lateral"), ("left", "medial"), ("right", "medial"), ("right", "lateral"))


def parcel_image(values: np.ndarray, brain: Mapping[str, Any]) -> nibabel.Nifti1Image:
    """Return a volume in which every voxel has the value of its parcel; 0 outside.

    Parameters
    ----------
    values : ndarray, shape (n_parcels,)
    brain : dict
        `mask_shape`, `voxel_indices`, `affine` and `labels`, as in `Trials.info["brain"]`.
    """
    labels = np.asarray(brain["labels"])
    volume = np.zeros(int(np.prod(brain["mask_shape"])), dtype=np.float32)
    inside = np.asarray(brain["voxel_indices"])
    volume[inside] = np.where(labels >= 0, np.asarray(values, dtype=np.float32)[labels], 0)
    return nibabel.Nifti1Image(volume.reshape(brain["mask_shape"]), np.asarray(brain["affine"], dtype=float))


def glass_brain(values: np.ndarray, brain: Mapping[str, Any]) -> Figure:
    """Draw the values of parcels in a see-through brain from four sides.

    Parameters
    ----------
    values : ndarray, shape (n_parcels,)
    brain : dict
        See `parcel_image`.
    """
    from nilearn.plotting import plot_glass_brain  # not at the top: seconds

    figure = Figure(figsize=(10, 2.8))
    most = float(np.abs(values).max()) or 1.0
    with mpl.rc_context({"figure.max_open_warning": 0}):
        plot_glass_brain(
            parcel_image(values, brain),
            display_mode="lyrz",
            figure=figure,
            plot_abs=False,
            colorbar=True,
            cmap="RdBu_r",
            vmin=-most,
            vmax=most,
            threshold=None,
        )
    return figure


def surface_map(values: np.ndarray, brain: Mapping[str, Any]) -> Figure | None:
    """Draw the values of parcels on the inflated hemispheres of fsaverage5, which nilearn brings along.

    Parameters
    ----------
    values : ndarray, shape (n_parcels,)
    brain : dict
        See `parcel_image`.

    Returns
    -------
    Figure or None
        None where most of the surface lies in no parcel, as it does outside MNI space.
    """
    from nilearn.datasets import fetch_surf_fsaverage  # not at the top: seconds
    from nilearn.plotting import plot_surf_stat_map
    from nilearn.surface import load_surf_mesh

    meshes = fetch_surf_fsaverage("fsaverage5")
    shown, inside = np.asarray(parcel_image(values, brain).dataobj), parcel_image(np.ones(len(values)), brain)
    known, to_voxel = np.asarray(inside.dataobj), np.linalg.inv(inside.affine)
    on_surface, covered = {}, []
    for side in ("left", "right"):
        middle = np.mean(
            [load_surf_mesh(meshes[f"{layer}_{side}"]).coordinates for layer in ("pial", "white")], axis=0
        )
        places = np.round(middle @ to_voxel[:3, :3].T + to_voxel[:3, 3]).astype(int)
        within = ((places >= 0) & (places < shown.shape)).all(axis=1)
        nearest = tuple(np.clip(places, 0, np.array(shown.shape) - 1).T)
        on_surface[side] = np.where(within, shown[nearest], 0)
        covered.append(float((within & (known[nearest] > 0)).mean()))
    if np.mean(covered) < _COVERED:
        return None
    figure = Figure(figsize=(10, 2.2))
    figure.subplots_adjust(0, 0, 1, 1, 0, 0)
    most = float(np.abs(values).max()) or 1.0
    for place, (side, view) in enumerate(_VIEWS, start=1):
        axes = figure.add_subplot(1, len(_VIEWS), place, projection="3d")
        plot_surf_stat_map(
            meshes[f"infl_{side}"],
            on_surface[side],
            hemi=side,
            view=view,
            bg_map=meshes[f"sulc_{side}"],
            axes=axes,
            figure=figure,
            engine="matplotlib",
            colorbar=False,
            cmap="RdBu_r",
            vmin=-most,
            vmax=most,
        )
        axes.set_box_aspect(None, zoom=1.6)
    return figure
