"""Every recipe of `configs/` can be read, and says what it is."""

from pathlib import Path

import pytest
import yaml

from neurodec.errors import NeurodecError
from neurodec.run.recipe.recipe_file import load_recipe
from neurodec.run.recipe.recipe_keys import keys_page, recipe_keys
from neurodec.run.recipe.recipe_parser import SECTIONS
from neurodec.shipped import recipe_path, shipped

CONFIGS = Path(__file__).resolve().parents[1] / "configs"


@pytest.mark.parametrize(
    "path", sorted(CONFIGS.glob("*/*.yaml")), ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_recipe_fits_the_signatures(path):
    parser, recipe = load_recipe(path)
    assert recipe.name == f"{path.parent.name}/{path.stem}"
    text = path.read_text()
    assert text.startswith("#")
    assert "neurodec" in text.split("\nname:")[0]  # the command that runs it
    assert parser.dump(recipe)


def test_shipped_recipes_are_found_by_name_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("demo/eeg", "configs/demo/eeg.yaml", "demo/eeg.yaml"):
        assert recipe_path(name) == CONFIGS / "demo" / "eeg.yaml"
    assert len(shipped()) == len(list(CONFIGS.glob("*/*.yaml")))
    assert load_recipe("n170/linear")[1].name == "n170/linear"
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo/eeg.yaml").write_text("mine")  # a file that is there is meant
    assert recipe_path("demo/eeg.yaml") == Path("demo/eeg.yaml")
    with pytest.raises(NeurodecError, match="one that is included: atm/simulated-eeg"):
        load_recipe("demo/no")


def test_former_names_are_read_as_those_of_today(tmp_path):
    text = (CONFIGS / "n170/linear.yaml").read_text().replace("    classifier:", "    decoder:")
    (tmp_path / "former.yaml").write_text(text)
    override = "--evaluation.init_args.decoder.init_args.n_folds"
    _, recipe = load_recipe(tmp_path / "former.yaml", [override, "3"])
    assert recipe.evaluation.init_args.classifier.init_args.n_folds == 3
    assert recipe.evaluation.init_args.classifier.init_args.per_subject


def test_a_recipe_of_the_first_version_is_translated(tmp_path):
    dataset = {"class_path": "neurodec.data.ThingsEEG2"}
    model = {"encoder": {"class_path": "neurodec.encoders.ATM"}, "lr": 0.001}
    content = {"name": "t", "dataset": dataset, "features": {"model": "neurodec/tiny-clip"}, "model": model}
    (tmp_path / "first.yaml").write_text(yaml.safe_dump(content))
    with pytest.warns(UserWarning, match="are read as `targets`, `encoder` and `optimizer`"):
        _, recipe = load_recipe(tmp_path / "first.yaml")
    assert recipe.targets.image.init_args.model == "neurodec/tiny-clip"
    assert recipe.encoder.class_path == "neurodec.encoders.ATM"
    assert recipe.optimizer.init_args.lr == 0.001
    model["depth"] = 3
    (tmp_path / "first.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(NeurodecError, match="of former versions"):
        load_recipe(tmp_path / "first.yaml")


@pytest.mark.parametrize(
    "name", ["atm/things-eeg2-reconstruction", "n170/linear", "mindbridge/simulated-fmri"]
)
def test_keys_of_a_recipe_have_a_type_and_a_meaning(name):
    """Every argument of the classes that it names, nested settings too, as their docstrings have them."""
    keys = [key for _, keys in recipe_keys(name) for key in keys]
    assert len(keys) > 15
    nameless = [key[0] for key in keys if not key[3] and "<argument>" not in key[0]]
    assert nameless == []
    if name == "n170/linear":
        assert "dataset.init_args.preprocessing.l_freq" in [key[0] for key in keys]


def test_the_page_of_keys_has_every_section():
    page = keys_page()
    assert all(f"| `{section}` |" in page for section in SECTIONS)


def test_a_misspelt_key_is_answered_with_the_right_one(tmp_path):
    text = (CONFIGS / "n170/linear.yaml").read_text().replace("\nevaluation:", "\nevalution:")
    (tmp_path / "wrong.yaml").write_text(text)
    with pytest.raises(
        NeurodecError, match="has the key evalution, which does not exist; do you mean evaluation"
    ):
        load_recipe(tmp_path / "wrong.yaml")
