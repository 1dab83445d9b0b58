"""Responses, pictures and labels under several keys of one file come back as trials and as pictures on the disk."""

import dataclasses
import shutil

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from simple_pictures import DATASET, HEIGHT, N_TRAIN, WIDTH, arrays

from neurodec.data import ArrayPictures, Study, prepare
from neurodec.errors import NeurodecError

READER = ArrayPictures(**DATASET["init_args"])


def prepared(tmp_path, content, reader=READER, name="figures.mat", leakage="stimulus"):
    root = tmp_path / "data"
    root.mkdir(exist_ok=True)
    (savemat if name.endswith(".mat") else lambda file, own: np.savez(file, **own))(root / name, content)
    return Study.load(prepare(dataclasses.replace(reader, file=name), root, tmp_path / "prepared", leakage))


def opened(study):
    files = study.stimuli.set_index("stimulus")["image"]
    return np.stack([np.asarray(Image.open(files[name])) for name in study.table["stimulus"]])


@pytest.mark.parametrize("name", ["figures.mat", "figures.npz"])
def test_what_was_written_is_read(tmp_path, rng, name):
    content, pictures = arrays(rng)
    study = prepared(tmp_path, content, name=name)
    wanted = np.concatenate([content["fmriTrn"], content["fmriTest"]]).astype(np.float32)
    np.testing.assert_array_equal(np.asarray(study.trials.responses[:]), wanted)
    np.testing.assert_array_equal(opened(study), pictures)  # column-major rows, every number kept
    assert study.table["split"].tolist() == ["train"] * N_TRAIN + ["test"] * (len(pictures) - N_TRAIN)
    assert set(study.table["concept"]) == {"1", "2"}


def test_line_by_line_and_column_by_column_differ(tmp_path, rng):
    content, pictures = arrays(rng)
    study = prepared(tmp_path, content, dataclasses.replace(READER, picture_order="C"))
    columns = pictures.transpose(0, 2, 1).reshape(pictures.shape)
    np.testing.assert_array_equal(opened(study), columns)


@pytest.mark.parametrize("kind", ["fractions", "whole numbers", "arrays", "colour"])
def test_pictures_in_any_form(tmp_path, rng, kind):
    content, pictures = arrays(rng)
    reader = READER
    for key in ("stimTrn", "stimTest"):
        own = content[key]
        square = own.reshape(len(own), WIDTH, HEIGHT).transpose(0, 2, 1)
        colour = np.repeat(square[..., None], 3, axis=3)
        forms = {
            "fractions": own / 255,
            "whole numbers": own.astype(float),
            "arrays": square,
            "colour": colour,
        }
        content[key] = forms[kind]
    if kind in ("arrays", "colour"):
        reader = dataclasses.replace(READER, picture_shape=None)
    found = opened(prepared(tmp_path, content, reader))
    np.testing.assert_array_equal(found[..., 0] if kind == "colour" else found, pictures)


def test_all_together_where_there_is_no_split(tmp_path, rng):
    content, _ = arrays(rng)
    content["stimTest"][0] = content["stimTrn"][0]  # shown twice: one stimulus, two trials
    content["labelTest"][0] = content["labelTrn"][0]
    study = prepared(tmp_path, content, dataclasses.replace(READER, split="none"))
    assert set(study.table["split"]) == {"cv"}
    assert len(study.stimuli) == len(study) - 1
    assert study.table["repetition"].max() == 1


def test_a_prepared_folder_may_be_moved(tmp_path, rng):
    content, pictures = arrays(rng)
    prepared(tmp_path, content)
    shutil.move(tmp_path / "prepared", tmp_path / "elsewhere")
    np.testing.assert_array_equal(opened(Study.load(tmp_path / "elsewhere")), pictures)


def spoilt(rng, **changes):
    content, _ = arrays(rng)
    return {**content, **changes}


def test_pictures_of_training_and_test_are_refused(tmp_path, rng):
    content, _ = arrays(rng)
    content["stimTest"][3] = content["stimTrn"][7]
    content["labelTest"][3] = content["labelTrn"][7]
    with pytest.raises(NeurodecError, match="share 1 stimulus"):
        prepared(tmp_path, content)


@pytest.mark.parametrize(
    ("changes", "content", "message"),
    [
        (
            {"responses": {"train": "fmri", "test": "fmriTest"}},
            {},
            "no key fmri; it has fmriTest, fmriTrn, label",
        ),
        ({"concepts": {"train": "labelTrn"}}, {}, "name the same sets"),
        (
            {"responses": {"training": "fmriTrn"}, "pictures": {"training": "stimTrn"}, "concepts": {}},
            {},
            "split",
        ),
        ({"picture_shape": [13, 14]}, {}, "168 numbers per picture, and 13 x 14 are 182"),
        ({"picture_shape": None}, {}, "`picture_shape` tells"),
        ({"concept_names": {"1": "lying"}}, {}, "the class 2, which"),
        ({"white": 100.0}, {}, "by `white` which number is white"),
        ({}, {"fmriTest": np.ones((8, 3))}, "the same voxels in all"),
        ({}, {"labelTest": np.ones((7, 1))}, "7 labels for 8 pictures"),
        ({}, {"stimTest": -np.ones((8, HEIGHT * WIDTH))}, "numbers from -1 to"),
    ],
)
def test_what_does_not_fit_is_told_in_one_sentence(tmp_path, rng, changes, content, message):
    with pytest.raises(NeurodecError, match=message):
        prepared(tmp_path, spoilt(rng, **content), dataclasses.replace(READER, **changes))


def test_one_picture_of_two_classes_is_refused(tmp_path, rng):
    content, _ = arrays(rng)
    content["stimTrn"][1] = content["stimTrn"][0]
    with pytest.raises(NeurodecError, match="under several classes, 1, 2"):
        prepared(tmp_path, content)


def test_names_from_the_file_stay_in_the_folder(tmp_path, rng):
    content, _ = arrays(rng)
    reader = dataclasses.replace(READER, concept_names={"1": "../../evil", "2": "a/b"})
    study = prepared(tmp_path, content, reader)
    inside = tmp_path / "prepared" / "pictures"
    assert len(list(inside.iterdir())) == len(study.stimuli)
    table = (tmp_path / "prepared/stimuli.csv").read_text().replace(",pictures/", ",pictures/../../")
    (tmp_path / "prepared/stimuli.csv").write_text(table)
    with pytest.raises(NeurodecError, match="prepare it again"):
        Study.load(tmp_path / "prepared")
