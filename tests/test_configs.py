"""Every recipe of `configs/` can be read, and says what it is."""

import re
from pathlib import Path

import pytest

from neurodec.errors import NeurodecError
from neurodec.run.recipe_file import load_recipe
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
    with pytest.raises(NeurodecError, match="one that comes along: atm/simulated-eeg"):
        load_recipe("demo/no")


def test_the_recipe_of_the_readme_is_valid(tmp_path):
    readme = Path(__file__).parents[1] / "README.md"
    (text,) = re.findall(r"```yaml\n(.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    _, recipe = load_recipe(tmp_path / "mine.yaml")
    assert recipe.dataset.init_args.preprocessing.whiten == "mvnn-epochs"
    assert recipe.encoder.class_path == "neurodec.encoders.ATM"
