"""Every recipe of `configs/` can be read, and says what it is."""

from pathlib import Path

import pytest

from neurodec.recipe_file import load_recipe, packaged_recipe

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
