"""Every golden output that we claim to reproduce, and the runner's own honesty."""

import json
import shutil

import numpy as np
import pytest
from run_parity import FAMILIES, check, main

OURS = ("atm", "csbrain-", "mvnn-", "metrics-", "mindbridge-", "braindiffuser-", "nice-", "neurobridge-")


@pytest.mark.slow
def test_every_case_of_our_families_is_ok(shared):
    folders = [folder for folder in sorted((shared / "parity").glob("*/")) if folder.name.startswith(OURS)]
    assert len(folders) >= 39
    lines = [check(folder) for folder in folders]
    assert all(passed for passed, _ in lines), "\n".join(line for _, line in lines)


def test_a_changed_golden_fails(shared, tmp_path):
    case = tmp_path / "parity" / "atms-losses"
    shutil.copytree(shared / "parity" / "atms-losses", case)
    shutil.copy(shared / "parity" / "fill.py", tmp_path / "parity")
    golden = dict(np.load(case / "golden.npz"))
    case.chmod(0o755)
    (case / "golden.npz").unlink()
    np.savez(case / "golden.npz", **{**golden, "retrieval": golden["retrieval"] + 0.01})
    assert main([str(case)]) == 1


@pytest.mark.parametrize("content", [{"family": "nobody", "tolerance": 1}, {}])
def test_an_unknown_case_fails(tmp_path, content):
    (tmp_path / "case.json").write_text(json.dumps(content))
    passed, line = check(tmp_path)
    assert not passed
    assert "FAIL" in line
    assert "nobody" not in FAMILIES
