from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from neurodec.data import (
    Dataset,
    Part,
    Study,
    Trials,
    load_stimuli,
    prepare,
    stimuli_of_trials,
    store,
    with_defaults,
)
from neurodec.errors import NeurodecError


@dataclass(frozen=True)
class Runs(Dataset):
    """Reads one trial per row of ``run-*.csv``; fails at the run named in `stop_at`."""

    gain: float = 1.0
    stop_at: str = ""

    def parts(self, root: Path) -> list[Part]:
        return [Part(file.stem, "01", (file,)) for file in sorted(root.glob("run-*.csv"))]

    def load(self, part: Part, root: Path) -> Trials:
        if part.name == self.stop_at:
            raise KeyboardInterrupt
        frame = pd.read_csv(part.files[0], dtype={"stimulus": str})
        responses = self.gain * np.repeat(frame["value"].to_numpy(np.float32)[:, None, None], 2, axis=1)
        info = {"modality": "eeg", "units": "V", "sfreq": 1.0, "tmin": 0.0, "ch_names": ["a", "b"]}
        table = with_defaults(frame[["stimulus", "split"]], run=part.name)
        return Trials(np.repeat(responses, 3, axis=2), table, info)

    def stimuli(self, root: Path) -> pd.DataFrame:
        frames = {
            part.name: self.load(part, root).table for part in self.parts(root) if part.name != self.stop_at
        }
        return stimuli_of_trials(frames)


def write(root, run, rows):
    lines = ["stimulus,split,value", *(f"{name},{split},{value}" for name, split, value in rows)]
    (root / f"run-{run}.csv").write_text("\n".join(lines))


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    write(folder, 1, [("x", "train", 1), ("t", "test", 2)])
    write(folder, 2, [("x", "train", 3), ("t", "test", 4)])
    return folder


def test_parts_are_joined_in_order_with_provenance(root, tmp_path):
    trials = Study.load(prepare(Runs(), root, tmp_path / "out")).trials
    assert trials.responses[:, 0, 0].tolist() == [1, 2, 3, 4]
    assert trials.table["repetition"].tolist() == [0, 0, 1, 1]
    provenance = trials.info["provenance"]
    assert provenance["parameters"]["init_args"] == {"gain": 1.0, "stop_at": ""}
    assert [len(source["sha256"]) for source in provenance["sources"]] == [64, 64]
    assert load_stimuli(tmp_path / "out")["stimulus"].tolist() == ["x", "t"]
    assert not (tmp_path / "out" / ".parts").exists()


def test_a_broken_preparation_goes_on(root, tmp_path, monkeypatch):
    out, loaded, load = tmp_path / "out", [], Runs.load

    def stops(self, part, root):
        if part.name == "run-2" and not loaded:
            raise KeyboardInterrupt
        return load(self, part, root)

    monkeypatch.setattr(Runs, "load", stops)
    monkeypatch.setattr(
        Runs,
        "stimuli",
        lambda self, root: stimuli_of_trials({"": load(self, self.parts(root)[0], root).table}),
    )
    with pytest.raises(KeyboardInterrupt):
        prepare(Runs(), root, out)
    assert (out / ".parts" / "run-1").is_dir()
    assert not (out / "info.json").exists()
    loaded.append(True)
    whole = Study.load(prepare(Runs(), root, tmp_path / "other")).trials
    np.testing.assert_array_equal(Study.load(prepare(Runs(), root, out)).trials.responses, whole.responses)


def test_another_configuration_or_file_is_refused(root, tmp_path):
    prepare(Runs(), root, tmp_path / "out")
    with pytest.raises(NeurodecError, match=r"gain was 1\.0, now 2\.0"):
        prepare(Runs(gain=2.0), root, tmp_path / "out")
    write(root, 3, [("y", "train", 5)])
    with pytest.raises(NeurodecError, match=r"run-3\.csv"):
        prepare(Runs(), root, tmp_path / "out")


def test_the_same_recording_under_two_names_is_refused(root, tmp_path):
    (root / "run-9.csv").write_text((root / "run-1.csv").read_text())
    with pytest.raises(NeurodecError, match=r"run-9\.csv is the same recording as run-1\.csv"):
        prepare(Runs(), root, tmp_path / "out")


def test_overlap_of_train_and_test_names_the_rows(root, tmp_path):
    write(root, 2, [("t", "train", 3)])
    with pytest.raises(NeurodecError, match=r"first t \(rows 1, 2\)"):
        prepare(Runs(), root, tmp_path / "out")
    assert not (tmp_path / "out" / "info.json").exists()


def test_nan_trials_and_absent_data_are_told(root, tmp_path):
    write(root, 2, [("x", "train", "nan")])
    with pytest.raises(NeurodecError, match="run-2 holds NaN"):
        prepare(Runs(), root, tmp_path / "out")
    with pytest.raises(NeurodecError, match="does not exist"):
        prepare(Runs(), tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(NeurodecError, match="No recording"):
        prepare(Runs(), tmp_path / "empty", tmp_path / "out")


def test_large_sources_are_hashed_by_stretches_and_whole_on_request(root, tmp_path, monkeypatch):
    monkeypatch.setattr(store, "_HASHED_WHOLE", 10)
    read = []
    monkeypatch.setattr(store, "sha256_of", lambda file: read.append(file) or str(file))
    sources = Study.load(prepare(Runs(), root, tmp_path / "out")).trials.info["provenance"]["sources"]
    assert [set(source) for source in sources] == [{"file", "sampled_sha256"}] * 2
    assert not read
    whole = prepare(Runs(), root, tmp_path / "whole", whole_hashes=True)
    assert {"sha256"} < set(Study.load(whole).trials.info["provenance"]["sources"][0])
    assert len(read) >= 2


def test_recordings_that_share_stretches_alone_are_not_twins(root, tmp_path, monkeypatch):
    monkeypatch.setattr(store, "_HASHED_WHOLE", 10)
    monkeypatch.setattr(store, "sampled_sha256_of", lambda file: "alike")
    prepare(Runs(), root, tmp_path / "out")  # compared whole, and found to differ
