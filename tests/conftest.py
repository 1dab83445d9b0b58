"""Fixtures that every test may use."""

from pathlib import Path

import numpy as np
import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference outputs and real recordings that lies beside a developer's checkout."""
    if not SHARED.is_dir():
        pytest.skip("needs ../shared (golden outputs and real recordings), which only developers and CI have")
    return SHARED


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fixed seed."""
    return np.random.default_rng(0)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the notebooks: the longest file would otherwise keep one of two processes busy at the end."""
    items.sort(key=lambda item: item.path.name != "test_notebooks.py")
