"""Five hundred damaged inputs of every kind; ``make fuzz N=10000`` tries more."""

import pytest

pytest.importorskip("resource", reason="the limits of the trial need a POSIX system")

from fuzz.run_fuzz import run, schedule


def test_damaged_inputs_end_in_one_sentence():
    lines = []
    counts, failures = run(schedule(300), told=lines.append)
    assert not failures, "\n".join(lines)
    assert counts["refused"] > 90  # the damage is no decoration ...
    assert counts["read"] > 15  # ... and a flipped sample is no reason to refuse
