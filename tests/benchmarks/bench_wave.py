"""WAVE: parcels of a run against reading it, a training step against the published padding, masks against one by one.

Run: ``python tests/benchmarks/bench_wave.py``.
"""

import tempfile
import time
from pathlib import Path

import nibabel
import numpy as np
import torch
from nilearn.maskers import NiftiLabelsMasker

from neurodec import LightningSystem, Study
from neurodec.data import Atlas
from neurodec.data.account import Account
from neurodec.data.readers.nifti import open_image, read_series
from neurodec.encoders.wave import ParcelTransformer
from neurodec.evaluation.networks import masked_predictions
from neurodec.evaluation.section import Fitted
from neurodec.features import Features

SHAPE, N_VOLUMES, N_PARCELS = (60, 72, 60), 200, 1000


def seconds(function, n_times=1):
    start = time.perf_counter()
    for _ in range(n_times):
        found = function()
    return (time.perf_counter() - start) / n_times, found


def parcellation():
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        labels = np.arange(np.prod(SHAPE)).reshape(SHAPE) * N_PARCELS // np.prod(SHAPE) + 1
        nibabel.save(nibabel.Nifti1Image(labels.astype(np.int16), np.eye(4)), root / "atlas.nii.gz")
        series = rng.normal(1000, 10, (*SHAPE, N_VOLUMES)).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(series, np.eye(4)), root / "bold.nii")
        image, mask = open_image(root / "bold.nii"), np.ones(SHAPE, bool)
        reading, voxels = seconds(lambda: read_series(image, mask, root / "bold.nii"))
        parcels, _ = Atlas("atlas.nii.gz").read(root, image, mask, root / "bold.nii", Account())
        product, found = seconds(lambda: parcels.series(voxels), 3)
        codes = parcels.labels
        loop, wanted = seconds(
            lambda: np.stack([voxels[:, codes == number].mean(axis=1) for number in range(N_PARCELS)], axis=1)
        )
        masker = NiftiLabelsMasker(str(root / "atlas.nii.gz"), resampling_target=None).fit()
        theirs, _ = seconds(lambda: masker.transform(str(root / "bold.nii")))
    assert np.abs(found - wanted).max() < 1e-2
    print(
        f"{N_PARCELS} parcels of {voxels.shape[1]} voxels x {N_VOLUMES} volumes: reading {reading:.2f} s, the product "
        f"{product:.2f} s ({product / reading:.2f} of reading), a loop over parcels {loop:.2f} s "
        f"({loop / product:.0f} x), nilearn's masker with its reading {theirs:.2f} s"
    )


def training_step():
    """The published code pads the five volumes to fifty; here the transformer reads the five and the token."""
    torch.manual_seed(0)
    model = ParcelTransformer(1024)
    optimiser = torch.optim.Adam(model.parameters(), 1e-5)
    response, times = torch.randn(16, 5, 1024), 2.0 * torch.arange(50)
    padded = torch.cat([response, torch.zeros(16, 45, 1024)], dim=1)
    valid = (torch.arange(50) < 5).expand(16, -1)

    def step(volumes, seconds_of, valid=None):
        states = model(volumes, seconds_of, valid)
        loss = model.pooled(states, torch.full((16,), 5)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    step(response, times[:5])
    published, _ = seconds(lambda: step(padded, times, valid), 5)
    ours, _ = seconds(lambda: step(response, times[:5]), 5)
    print(f"training step of 16: {published:.2f} s as published, {ours:.2f} s here: {published / ours:.1f} x")


def masks():
    rng = np.random.default_rng(0)
    names = [f"s{number:03d}" for number in range(300)]
    study = Study.from_arrays(
        rng.normal(size=(300, 400, 5)),
        names,
        sfreq=0.5,
        modality="fmri",
        split="train",
        dims=["trial", "parcel", "time"],
        ch_names=[f"parcel-{number}" for number in range(400)],
    )
    targets = {"image": Features.given(rng.normal(size=(300, 64)), names)}
    encoder = {"class_path": "neurodec.encoders.WAVE", "init_args": {"width": 128, "depth": 2, "n_heads": 4}}
    system = LightningSystem(encoder, max_epochs=1).fit(study, targets)
    fitted, test = Fitted("WAVE", system, study, targets), study.trials.select(slice(0, 20))
    groups = {f"network {number}": list(range(40 * number, 40 * number + 40)) for number in range(10)}
    together, found = seconds(lambda: masked_predictions(fitted, "image", "all", test, groups), 3)
    alone, wanted = seconds(
        lambda: {
            name: masked_predictions(fitted, "image", "all", test, {name: own})[name]
            for name, own in groups.items()
        },
        3,
    )
    assert all(np.abs(found[name] - own).max() < 1e-4 for name, own in wanted.items())
    print(
        f"ten networks masked: {together:.2f} s in one pass, {alone:.2f} s one by one: {alone / together:.1f} x"
    )


if __name__ == "__main__":
    parcellation()
    training_step()
    masks()
