"""Sphinx configuration; `make docs` builds the site into docs/_build/html."""

import importlib
import shutil
import sys
from pathlib import Path

import neurodec

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

project, author = "neurodec", "The neurodec developers"
copyright = "The neurodec developers"
release = version = neurodec.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.viewcode",
    "numpydoc",
    "sphinx_design",
]
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # the tests run the notebooks; their outputs are kept in them
exclude_patterns = ["_build", "_generated"]

autosummary_generate = True
autodoc_typehints = "none"  # numpydoc shows them
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
suppress_warnings = ["ref.python"]  # attributes of one name in several classes

templates_path = ["_templates"]
html_theme = "pydata_sphinx_theme"
html_title = "neurodec"
html_static_path = ["_static"]
html_css_files = ["neurodec.css"]
html_show_sourcelink = False
html_theme_options = {
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "header_links_before_dropdown": 6,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
}
intersphinx_mapping = {}  # the build needs no network
linkcheck_ignore = [r"https?://(?!localhost).*"]  # links outside are listed by tests/test_docs.py


def _copied() -> None:
    """Copy what stands elsewhere in the repository: notebooks and the changelog."""
    tutorials = HERE / "tutorials" / "notebooks"
    shutil.rmtree(tutorials, ignore_errors=True)
    tutorials.mkdir(parents=True)
    for notebook in sorted((HERE.parent / "notebooks").glob("*.ipynb")):
        shutil.copy(notebook, tutorials / notebook.name)
    (HERE / "changelog.md").write_text((HERE.parent / "CHANGELOG.md").read_text())


def _generated() -> None:
    """Write what the package knows: keys of recipes, weights, and where data sets are."""
    from neurodec.features.downloads import DOWNLOADS
    from neurodec.run.recipe.recipe_keys import keys_page

    (HERE / "reference" / "recipe_keys.md").write_text(keys_page())
    folder = HERE / "_generated"
    folder.mkdir(exist_ok=True)
    rows = [
        f"| `{name}` | {own.size} | {own.licence} | `{own.command(name)}` |"
        for name, own in DOWNLOADS.items()
    ]
    head = "| weights | size | licence | command |\n|---|---|---|---|\n"
    (folder / "weights.md").write_text(head + "\n".join(rows) + "\n")
    told = []
    speech = ("gwilliams2022", "schoffelen2019", "broderick2019", "brennan2019")
    sys.path.insert(0, str(HERE.parent / "data_prep"))
    for script in ("things_eeg2", "things_meg", "nsd", "bold5000", *speech):
        module = importlib.import_module(script)
        told.append(f"`python data_prep/{script}.py`:\n\n```text\n{module.ABOUT}\n```\n")
    (folder / "data_sets.md").write_text("\n".join(told))


def _is_routing(app, what, name, member, skip, options) -> bool | None:  # noqa: ANN001  Sphinx's signature
    """Leave out scikit-learn's ``set_<method>_request``."""
    return True if name.startswith("set_") and name.endswith("_request") else None


def setup(app) -> None:  # noqa: ANN001, D103
    _copied()
    _generated()
    app.connect("autodoc-skip-member", _is_routing)
