"""Which picture stands for which row in the sets of controls."""

from pathlib import Path

import pandas as pd
import pytest

from neurodec.run.reconstruct import picture_files


@pytest.mark.parametrize("n_people", [1, 3])
def test_shuffled_pictures_are_never_of_the_same_stimulus(n_people):
    """Of another person either: two people who saw one picture are no control for each other."""
    rows = pd.DataFrame(
        [
            {"subject": f"p{person}", "stimulus": f"s{number}", "file": f"{person}_{number}.png"}
            for person in range(n_people)
            for number in range(7)
        ]
    )
    found = picture_files(Path("out"), "shuffled", rows)
    assert found == picture_files(Path("out"), "shuffled", rows)
    people, numbers = zip(*(file.stem.split("_") for file in found), strict=True)
    assert all(f"s{number}" != own for number, own in zip(numbers, rows["stimulus"], strict=True))
    assert [f"p{person}" for person in people] == rows["subject"].tolist()
    assert sorted(found) == sorted(Path("out/brain") / file for file in rows["file"])
