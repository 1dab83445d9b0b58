import mne
import numpy as np
import pytest

from neurodec import NeurodecError
from neurodec.data.readers.datasets.things_meg import CATCH, ThingsMEG

# eight concepts of three pictures; pictures 1, 4 and 7 (concepts 0, 1, 2) are shown three times: the test set
IMAGES = [f"images/concept{c}/concept{c}_{i:02d}s.jpg" for c in range(8) for i in range(3)]


@pytest.fixture
def root(tmp_path, rng):
    codes = np.concatenate([np.arange(1, 25), np.repeat([1, 4, 7], 2), [CATCH] * 4])
    codes = rng.permutation(codes)
    events = np.column_stack([300 * np.arange(1, len(codes) + 1), np.zeros_like(codes), codes])
    info = mne.create_info([f"MLC{i:02d}-1609" for i in range(5)] + ["EOG"], 200.0, ["mag"] * 5 + ["eog"])
    data = 1e-13 * rng.standard_normal((len(codes), 6, 281))
    epochs = mne.EpochsArray(data, info, events, tmin=-0.1, verbose="error")
    folder = tmp_path / "derivatives/preprocessed"
    folder.mkdir(parents=True)
    epochs.save(folder / "preprocessed_P1-epo.fif", verbose="error")
    for image in IMAGES:
        (tmp_path / image).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / image).touch()
    (tmp_path / "image_paths.csv").write_text("\n".join(IMAGES) + "\n")
    (tmp_path / "image_concept_index.csv").write_text("".join(f"{i // 3 + 1}\n" for i in range(24)))
    return tmp_path


def test_published_steps(root):
    reader = ThingsMEG()
    (part,) = reader.parts(root)
    trials = reader.load(part, root)
    assert part.name == "sub-01"
    assert trials.responses.shape == (5 * 3 + 3 * 3, 5, 201)
    assert trials.times[[0, -1]] == pytest.approx([0, 1])
    assert trials.info["modality"] == "meg"
    assert trials.info["units"] == "T"
    train, test = trials.split("train"), trials.split("test")
    assert sorted(set(train.table["concept"])) == [f"concept{c}" for c in range(3, 8)]
    assert (
        test.table["stimulus"].tolist()
        == np.repeat(["concept0_00s", "concept1_00s", "concept2_00s"], 3).tolist()
    )
    assert test.table["repetition"].tolist() == [0, 1, 2] * 3
    assert train.table["stimulus"].is_monotonic_increasing  # the order of event ids

    epochs = mne.read_epochs(part.files[0], verbose="error")
    expected = epochs["7"].crop(0, 1).get_data(picks="mag")
    np.testing.assert_allclose(test.responses[6:], expected, rtol=1e-6)


def test_stimuli_and_gallery(root):
    stimuli = ThingsMEG().stimuli(root)
    counts = stimuli["split"].value_counts()
    assert counts.to_dict() == {"train": 15, "test": 3, "gallery": 6}
    gallery = stimuli[stimuli["split"] == "gallery"]
    assert set(gallery["concept"]) == {"concept0", "concept1", "concept2"}
    assert stimuli.set_index("stimulus").loc["concept4_02s", "caption"] == "This picture is concept4"


def test_zscore_uses_training_statistics(root):
    reader = ThingsMEG(whiten="zscore")
    trials = reader.load(reader.parts(root)[0], root)
    train = np.asarray(trials.split("train").responses)
    np.testing.assert_allclose(train.mean(axis=(0, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(train.std(axis=(0, 2)), 1, rtol=1e-5)
    assert trials.info["units"] == "a.u."


def test_bad_input_is_named(root):
    reader = ThingsMEG(subjects=[3])
    with pytest.raises(NeurodecError, match=r"preprocessed_P3-epo.fif is missing"):
        reader.parts(root)
    reader = ThingsMEG(test_repetitions=12)
    part = reader.parts(root)[0]
    with pytest.raises(NeurodecError, match=r"no picture exactly 12 times \(at most 3\)"):
        reader.load(part, root)
    (root / IMAGES[5]).unlink()
    with pytest.raises(NeurodecError, match=r"concept1_02s.jpg is missing"):
        ThingsMEG().stimuli(root)
    lines = (root / "image_paths.csv").read_text().splitlines()
    (root / "image_paths.csv").write_text("\n".join(lines[:20]))
    with pytest.raises(NeurodecError, match=r"lists 20 pictures, image_concept_index.csv 24"):
        ThingsMEG().load(part, root)
    (root / "image_concept_index.csv").write_text("".join(f"{i // 3 + 1}\n" for i in range(20)))
    with pytest.raises(NeurodecError, match=r"shows picture number 21, but image_paths.csv lists 20"):
        ThingsMEG().load(part, root)
    (root / "image_concept_index.csv").write_text("".join(f"{i // 4 + 1}\n" for i in range(20)))
    with pytest.raises(NeurodecError, match="one number to pictures of several folders"):
        ThingsMEG().load(part, root)
    (root / "image_paths.csv").write_text("\n".join(IMAGES))
    (root / "image_concept_index.csv").write_text("".join(f"{i // 3 + 1}\n" for i in range(24)))
    part.files[0].write_bytes(part.files[0].read_bytes()[:3000])
    with pytest.raises(NeurodecError, match=r"cannot be read|more than it can hold"):
        ThingsMEG().load(part, root)
