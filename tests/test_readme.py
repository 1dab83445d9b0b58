"""The README, followed to the letter on a recording of one's own: BrainVision files and sixty pictures."""

import json
import re
import struct
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from neurodec.cli import main
from neurodec.features import OpenClip
from neurodec.simulate.rendered_stimuli import draw_study, write_images

N_TRAIN, N_TEST, SFREQ, SPACING = 50, 10, 500, 1.1
NAMES = [
    "P7",
    "P5",
    "P3",
    "P1",
    "Pz",
    "P2",
    "P4",
    "P6",
    "P8",
    "PO7",
    "PO3",
    "POz",
    "PO4",
    "PO8",
    "O1",
    "Oz",
    "O2",
]
CLIP = ["--targets.image.init_args.model", "neurodec/tiny-clip"]  # as the README says, without downloads


def write_pictures(root: Path) -> pd.DataFrame:
    """Write sixty pictures and their table, as the README describes it."""
    write_images(root, draw_study((N_TRAIN, 1, N_TEST, 0), seed=0))
    rows = [
        {
            "stimulus": file.stem,
            "image": str(file.relative_to(root)),
            "concept": file.parent.name[6:],
            "split": split,
        }
        for split, folder in (("train", "training_images"), ("test", "test_images"))
        for file in sorted((root / "image_set" / folder).rglob("*.png"))
    ]
    table = pd.DataFrame(rows)
    table.to_csv(root / "pictures.csv", index=False)
    return table


def write_recording(root: Path, stem: str, pictures: pd.DataFrame, repetitions: int = 12) -> None:
    """Write a recording in microvolts, int16 with a resolution, whose evoked part is linear in the picture."""
    rng = np.random.default_rng(1)
    images = OpenClip(model="neurodec/tiny-clip").extract(pictures, root).values
    images = (images - images.mean(axis=0)) / images.std()
    shown = rng.permutation(np.repeat(np.arange(len(pictures)), repetitions))
    onsets = 2 + SPACING * np.arange(len(shown))
    n_samples = round((onsets[-1] + 3) * SFREQ)
    times = np.arange(round(0.6 * SFREQ)) / SFREQ
    bumps = np.stack([np.exp(-(((times - centre) / 0.06) ** 2)) for centre in (0.12, 0.2, 0.3, 0.4)])
    kernels = rng.normal(size=(images.shape[1], len(NAMES), len(bumps))) / np.sqrt(images.shape[1])
    signals = np.cumsum(rng.normal(size=(len(NAMES), n_samples)), axis=1) * 0.2  # drifts
    signals += 6 * rng.normal(size=signals.shape) + 40 * np.sin(np.arange(n_samples) * 2 * np.pi * 50 / SFREQ)
    for row, onset in zip(shown, onsets, strict=True):
        first = round((onset + 0.05) * SFREQ)
        evoked = np.einsum("d,dcb,bt->ct", images[row], kernels, bumps)
        signals[:, first : first + len(times)] += 12 * evoked
    header = ["Brain Vision Data Exchange Header File Version 1.0", "[Common Infos]", f"DataFile={stem}.eeg"]
    header += [f"MarkerFile={stem}.vmrk", "DataFormat=BINARY", "DataOrientation=MULTIPLEXED"]
    header += [f"NumberOfChannels={len(NAMES)}", f"SamplingInterval={1e6 / SFREQ:g}"]
    header += ["[Binary Infos]", "BinaryFormat=INT_16", "[Channel Infos]"]
    header += [f"Ch{place + 1}={name},,0.1,µV" for place, name in enumerate(NAMES)]
    (root / f"{stem}.vhdr").write_text("\n".join(header) + "\n", encoding="utf-8")
    marks = ["Brain Vision Data Exchange Marker File, Version 1.0", "[Common Infos]", f"DataFile={stem}.eeg"]
    marks += ["[Marker Infos]", "Mk1=New Segment,,1,1,0,20200101000000000000"]
    (root / f"{stem}.vmrk").write_text("\n".join(marks) + "\n", encoding="utf-8")
    values = np.round(signals.T / 0.1).clip(-32768, 32767).astype("<i2")
    (root / f"{stem}.eeg").write_bytes(struct.pack(f"<{values.size}h", *values.ravel().tolist()))
    events = pd.DataFrame({"onset": onsets, "stimulus": pictures["stimulus"].to_numpy()[shown]})
    events.to_csv(root / f"{stem}_events.csv", index=False)


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Path:
    """Return a folder with the README's recipe and the files that it names."""
    root = tmp_path_factory.mktemp("lab")
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL)
    (root / "mine.yaml").write_text(text, encoding="utf-8")
    write_recording(root, "sub-01", write_pictures(root))
    return root


@pytest.mark.slow
def test_own_recording_ends_above_chance(lab, tmp_path):
    out = tmp_path / "out"
    assert main(["run", str(lab / "mine.yaml"), "--data-root", str(lab), "--out", str(out), *CLIP]) == 0
    found = json.loads((out / "results.json").read_text())["retrieval"]
    assert found["n_candidates"] == N_TEST
    assert found["p_value"] < 0.01
    assert found["ci95_top1"][0] > 1 / N_TEST
    assert "finds what was seen among 10 candidates" in (out / "report.html").read_text(encoding="utf-8")


@pytest.mark.quality
def test_volts_end_above_chance_too(lab, tmp_path, capsys):
    command = ["run", str(lab / "mine.yaml"), "--data-root", str(lab), "--out", str(tmp_path / "out"), *CLIP]
    assert main([*command, "--dataset.init_args.preprocessing.whiten", "none"]) == 0
    assert "are divided by it" in capsys.readouterr().out
    found = json.loads((tmp_path / "out/results.json").read_text())["retrieval"]
    assert found["ci95_top1"][0] > 1 / N_TEST
    assert not found["collapsed"]
