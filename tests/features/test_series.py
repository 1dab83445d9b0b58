"""Series that a person has: every kind of file, stretches, filters and rates, and what is refused."""

import numpy as np
import pandas as pd
import pytest
from scipy.io import savemat

from neurodec.errors import NeurodecError
from neurodec.features import Series


def stimuli(array, n=4, **columns):
    table = {"stimulus": [f"s{i}" for i in range(n)], "array": array}
    table |= {"offset": [str(2.0 * i) for i in range(n)], "duration": "2.0", **columns}
    return pd.DataFrame(table)


def standardised(x):
    return (x - x.mean(axis=-1, keepdims=True)) / x.std(axis=-1, keepdims=True)


def test_every_kind_of_file_gives_the_same_stretches(tmp_path, rng):
    values = rng.normal(size=(800, 2))
    np.save(tmp_path / "x.npy", values)
    np.savez(tmp_path / "x.npz", mel=values, other=values[:5])
    savemat(tmp_path / "x.mat", {"mel": values})
    pd.DataFrame(values, columns=["low", "high"]).assign(time="t").to_csv(tmp_path / "x.csv", index=False)
    pd.DataFrame(values, columns=["low", "high"]).to_csv(tmp_path / "x.tsv", index=False, sep="\t")
    wanted = standardised(values.T).reshape(2, 4, 200).swapaxes(0, 1)
    for name, key in (("x.npy", None), ("x.npz", "mel"), ("x.mat", "mel"), ("x.csv", None), ("x.tsv", None)):
        found = Series(100.0, source_sfreq=100.0, key=key).extract(stimuli(name), tmp_path)
        assert found.dims == ("stimulus", "value", "time")
        np.testing.assert_allclose(found.of(["s0", "s1", "s2", "s3"]), wanted, atol=1e-5)
    low = Series(100.0, source_sfreq=100.0, key="low").extract(stimuli("x.csv"), tmp_path)
    np.testing.assert_allclose(low.of(["s1"]), wanted[1:2, :1], atol=1e-5)
    turned = Series(100.0, source_sfreq=100.0, time_axis=1)
    np.save(tmp_path / "turned.npy", values.T)
    np.testing.assert_allclose(
        turned.extract(stimuli("turned.npy"), tmp_path).of(["s1"]), wanted[1:2], atol=1e-5
    )


def test_rows_of_cells_and_arrays_are_series_of_their_own(tmp_path, rng):
    values = rng.normal(size=(3, 400))
    cells = np.empty((1, 3), dtype=object)
    cells[0] = [own[:, None] for own in values]
    savemat(tmp_path / "x.mat", {"env": cells})
    np.save(tmp_path / "x.npy", values)
    table = stimuli("x.mat", n=2, row=["2", "0"], source_sfreq="100")
    found = Series(100.0).extract(table, tmp_path)
    np.testing.assert_allclose(found.of(["s0"])[0, 0], standardised(values[2])[:200], atol=1e-5)
    np.testing.assert_allclose(found.of(["s1"])[0, 0], standardised(values[0])[200:], atol=1e-5)
    other = Series(100.0).extract(table.assign(array="x.npy"), tmp_path)
    np.testing.assert_allclose(other.of(["s0", "s1"]), found.of(["s0", "s1"]), atol=1e-6)


def test_filters_rates_and_powers(tmp_path):
    times = np.arange(2000) / 200
    slow, fast = np.sin(2 * np.pi * 4 * times), np.sin(2 * np.pi * 30 * times)
    np.save(tmp_path / "x.npy", slow + fast + 5)
    found = Series(50.0, source_sfreq=200.0, l_freq=1.0, h_freq=8.0).extract(stimuli("x.npy"), tmp_path)
    middle = found.of(["s2"])[0, 0]
    assert middle.shape == (100,)
    assert np.corrcoef(middle, slow[800:1200:4])[0, 1] > 0.999
    np.save(tmp_path / "y.npy", np.array([-1.0, 16.0, 81.0, 0.0]))
    whole = pd.DataFrame({"stimulus": ["a"], "array": ["y.npy"]})
    loud = Series(1.0, source_sfreq=1.0, power=0.25).extract(whole, tmp_path)
    np.testing.assert_allclose(loud.of(["a"])[0, 0], standardised(np.array([0.0, 2, 3, 0])), atol=1e-6)


def test_refusals(tmp_path, rng):
    np.save(tmp_path / "x.npy", rng.normal(size=800))
    np.save(tmp_path / "flat.npy", np.ones(800))
    np.savez(tmp_path / "two.npz", a=np.ones(3), b=np.ones(3))
    known = Series(100.0, source_sfreq=100.0)
    for series, table, word in (
        (Series(100.0), stimuli("x.npy"), "sampling rate of x.npy is unknown"),
        (known, stimuli("x.npy").drop(columns="array"), "column `array`"),
        (known, stimuli("none.npy"), "do not exist"),
        (known, stimuli("two.npz"), "say which by `key`"),
        (known, stimuli("flat.npy"), "does not vary"),
        (known, stimuli("x.npy", n=5), "from 8 s on does not lie in x.npy"),
        (known, stimuli("x.npy", duration=["1", "2", "2", "2"]), "100 to 200 samples"),
        (known, stimuli("x.npy", row="900"), "names row 900"),
        (Series(100.0, source_sfreq=100.0, h_freq=60.0), stimuli("x.npy"), "half the sampling rate"),
    ):
        with pytest.raises(NeurodecError, match=word) as told:
            series.extract(table, tmp_path)
        assert "\n" not in str(told.value)
