"""Every recipe of `configs/` can be read, and says what it is."""

import re
from pathlib import Path

import pytest

from neurodec.run.recipe_file import load_recipe, packaged_recipe

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


def test_the_demo_finds_its_recipe():
    assert packaged_recipe("demo/eeg") == CONFIGS / "demo" / "eeg.yaml"
    assert (CONFIGS / "demo" / "eeg.yaml").is_file()


def test_the_recipe_of_the_readme_is_valid(tmp_path):
    readme = Path(__file__).parents[1] / "README.md"
    (text,) = re.findall(r"```yaml\n(.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    _, recipe = load_recipe(tmp_path / "mine.yaml")
    assert recipe.dataset.init_args.preprocessing.whiten == "mvnn-epochs"
    assert recipe.encoder.class_path == "neurodec.encoders.ATM"
