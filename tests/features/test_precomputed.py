"""Targets from files: matched by the stimulus' name, or refused in one sentence."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from command_line import arguments, refused, write_recipe
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_tensors
from small_studies import STUDIES
from test_cli import SECTIONS

from neurodec.cli import main
from neurodec.data import load_stimuli
from neurodec.data.responses import View
from neurodec.errors import NeurodecError
from neurodec.features import FeatureFiles, Features

NAMES = ["cat", "dog", "fish"]
STIMULI = pd.DataFrame({"stimulus": ["fish", "cat"]})


@pytest.fixture
def values(rng):
    return rng.normal(size=(3, 5)).astype(np.float32)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


FORMS = {
    "rows.npy": (lambda path, v: np.save(path, v), {"ids": "ids.txt"}),
    "flat.npy": (lambda path, v: np.save(path, v[:, None]), {"ids": "ids.txt"}),
    "named.npz": (lambda path, v: np.savez(path, v=v, names=np.array(NAMES)), {"ids": "names"}),
    "one.npz": (
        lambda path, v: np.savez(path, v=v, w=v, names=np.array(NAMES)),
        {"ids": "names", "key": "v"},
    ),
    "each.npz": (lambda path, v: np.savez(path, **dict(zip(NAMES, v, strict=True))), {}),
    "each.pt": (lambda path, v: torch.save(dict(zip(NAMES, torch.from_numpy(v), strict=True)), path), {}),
    "rows.pt": (lambda path, v: torch.save(torch.from_numpy(v).half(), path), {"ids": "ids.txt"}),
    "each.safetensors": (lambda path, v: save_file(dict(zip(NAMES, v, strict=True)), path), {}),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_rows_of_the_stimuli(tmp_path, values, name):
    write, settings = FORMS[name]
    write(tmp_path / name, values)
    (tmp_path / "ids.txt").write_text("cat\ndog\nfish\n")
    found = FeatureFiles(name, **settings).extract(STIMULI, tmp_path)
    np.testing.assert_allclose(found.values, unit(values[[2, 0]]), atol=2e-3 if name == "rows.pt" else 1e-6)
    assert found.stimuli == ["fish", "cat"]
    plain = FeatureFiles(name, **settings, normalize=False).extract(STIMULI, tmp_path)
    np.testing.assert_allclose(plain.values, values[[2, 0]], atol=2e-3)
    assert plain.info["key"] != found.info["key"]


def test_names_in_a_table_and_in_bytes(tmp_path, values):
    (tmp_path / "names.csv").write_text("row,stimulus\n0,cat\n1,dog\n2,fish\n")
    np.save(tmp_path / "v.npy", values)
    np.savez(tmp_path / "v.npz", v=values, n=np.array([name.encode() for name in NAMES]))
    for settings in ({"file": "v.npy", "ids": "names.csv"}, {"file": "v.npz", "ids": "n"}):
        found = FeatureFiles(**settings).extract(STIMULI, tmp_path)
        np.testing.assert_allclose(found.values, unit(values[[2, 0]]), atol=1e-6)
    (tmp_path / "names.csv").write_text("a,b\n0,cat\n")
    with pytest.raises(NeurodecError, match="no column `stimulus`"):
        FeatureFiles("v.npy", "names.csv").extract(STIMULI, tmp_path)


def test_brain_floats_are_read(tmp_path, values):
    content = {name: torch.from_numpy(row).bfloat16() for name, row in zip(NAMES, values, strict=True)}
    save_tensors(content, tmp_path / "v.safetensors")
    found = FeatureFiles("v.safetensors").extract(STIMULI, tmp_path)
    np.testing.assert_allclose(found.values, unit(values[[2, 0]]), atol=1e-2)


def test_one_file_gives_several_targets(tmp_path, values):
    torch.save({"img": torch.from_numpy(values), "txt": torch.from_numpy(-values)}, tmp_path / "v.pt")
    (tmp_path / "ids.txt").write_text("cat\ndog\nfish\n")
    files = FeatureFiles("v.pt", "ids.txt", key="img")
    found = replace(files, key="txt").extract(STIMULI, tmp_path)
    np.testing.assert_allclose(found.values, -files.extract(STIMULI, tmp_path).values, atol=1e-6)


def test_the_names_count_as_a_source(tmp_path, values):
    np.save(tmp_path / "v.npy", values)
    (tmp_path / "ids.txt").write_text("cat\ndog\nfish\n")
    files = FeatureFiles("v.npy", "ids.txt")
    before = files.sources(tmp_path)
    (tmp_path / "ids.txt").write_text("dog\ncat\nfish\n")
    assert files.sources(tmp_path) != before
    assert FeatureFiles("absent.npy").sources(tmp_path) == []


def test_tokens_and_sequences_are_read_from_the_file_in_blocks(tmp_path, rng, monkeypatch):
    tokens = rng.normal(size=(3, 4, 5)).astype(np.float32)
    np.save(tmp_path / "t.npy", tokens)
    (tmp_path / "ids.txt").write_text("cat\ndog\nfish\n")
    files = FeatureFiles("t.npy", "ids.txt", normalize=False)
    monkeypatch.setattr("neurodec.features.cache._IN_MEMORY", 0)
    found = files.extract(STIMULI, tmp_path)
    assert isinstance(found.values, View)
    np.testing.assert_array_equal(np.asarray(found.values), tokens[[2, 0]])
    found.save(tmp_path / "kept")
    np.testing.assert_array_equal(Features.load(tmp_path / "kept").values, tokens[[2, 0]])
    scaled = replace(files, normalize=True).extract(STIMULI, tmp_path)
    np.testing.assert_allclose(np.square(np.asarray(scaled.values)).sum(axis=(1, 2)), 1, rtol=1e-6)
    np.savez(tmp_path / "odd.npz", cat=tokens[0], dog=tokens[1, :3])
    with pytest.raises(NeurodecError, match=r"arrays of 2 shapes, \(3, 5\) and \(4, 5\)"):
        FeatureFiles("odd.npz").extract(STIMULI, tmp_path)


class Evil:
    def __reduce__(self):
        return eval, ("1",)


@pytest.mark.parametrize(
    ("write", "settings", "sentence"),
    [
        (lambda path, v: np.savez(path, v=v), {}, "Nothing names the 3 rows"),
        (lambda path, v: np.savez(path, v=v, n=np.array(NAMES[:2])), {"ids": "n"}, "3 rows, `ids` names 2"),
        (
            lambda path, v: np.savez(path, v=v, n=np.array(["cat"] * 3)),
            {"ids": "n"},
            "two rows for the stimulus cat",
        ),
        (
            lambda path, v: np.savez(path, v=v, n=np.array(list("abc"))),
            {"ids": "n"},
            r"no row for the stimulus fish",
        ),
        (
            lambda path, v: np.savez(path, v=v * np.nan, n=np.array(NAMES)),
            {"ids": "n"},
            "NaN.* stimulus fish",
        ),
        (lambda path, v: np.savez(path, v=v[0], n=np.array(NAMES)), {"ids": "n"}, r"shape \(5,\)"),
        (lambda path, v: np.savez(path, v=v, w=v, n=np.array(NAMES)), {"ids": "n"}, "say which by `key`"),
        (lambda path, v: np.savez(path, v=v), {"ids": "nowhere"}, "no key nowhere"),
        (lambda path, v: np.savez(path, v=np.array([{}])), {}, "cannot be read as features"),
        (lambda path, v: path.write_bytes(b"PK"), {}, "cannot be read as features"),
    ],
)
def test_what_gives_no_targets_is_told(tmp_path, values, write, settings, sentence):
    write(tmp_path / "x.npz", values)
    with pytest.raises(NeurodecError, match=sentence):
        FeatureFiles("x.npz", **settings).extract(STIMULI, tmp_path)


def test_objects_are_not_unpickled(tmp_path):
    torch.save({"cat": Evil()}, tmp_path / "x.pt")
    with pytest.raises(NeurodecError, match=r"x.pt cannot be read as features"):
        FeatureFiles("x.pt").extract(STIMULI, tmp_path)
    with pytest.raises(NeurodecError, match="do not exist"):
        FeatureFiles("y.pt").extract(STIMULI, tmp_path)


def test_a_recipe_runs_on_them(tmp_path, capsys, monkeypatch, rng):
    monkeypatch.setenv("NEURODEC_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "data"
    root.mkdir()
    STUDIES["arrays"][0](root)
    features = {
        "class_path": "neurodec.features.FeatureFiles",
        "init_args": {"file": "clip.npy", "ids": "names.txt"},
    }
    write_recipe(tmp_path / "recipe.yaml", "arrays", **{**SECTIONS, "targets": {"image": features}})
    assert main(arguments("prepare", root)) == 0
    stimuli = load_stimuli(tmp_path / "out/prepared")["stimulus"].tolist()
    values = rng.normal(size=(len(stimuli), 12)).astype(np.float32)
    np.save(root / "clip.npy", values)
    (root / "names.txt").write_text("\n".join(stimuli[::-1]))
    assert main(arguments("run", root)) == 0
    stored = Features.load(tmp_path / "out/targets/image")
    np.testing.assert_allclose(stored.values, unit(values[::-1]), atol=1e-6)
    results = json.loads((tmp_path / "out/results.json").read_text())
    assert results["retrieval"]["n_candidates"] > 2
    (root / "clip.npy").rename(root / "moved.npy")
    assert "do not exist" in refused(capsys, arguments("targets", root))
    (root / "moved.npy").rename(root / "clip.npy")
    drawn = {"prior": {"class_path": "neurodec.priors.LinearPrior"}, "reconstruction": {"n_images": 2}}
    drawn["decoder"] = {"class_path": "neurodec.decoders.GuidedDiffusion"}
    write_recipe(tmp_path / "recipe.yaml", "arrays", **{**SECTIONS, "targets": {"image": features}, **drawn})
    assert "The condition image will be of" in refused(capsys, arguments("run", root))
