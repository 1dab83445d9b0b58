import mne
import numpy as np
import pytest

from neurodec.data.clock import Clock, annotation_seconds, clock_of

ONSETS = np.array([6.1, 7.5, 12.25])


@pytest.fixture
def paused():
    """100 Hz; 3 s, a pause of 5 s, 2 s, a pause of 1 s, 4 s."""
    return Clock(100.0, 900, np.array([0, 300, 500]), np.array([0.0, 8.0, 11.0]))


@pytest.mark.parametrize("date", [None, 1_600_000_000])
@pytest.mark.parametrize("crop", [0.0, 5.0])
@pytest.mark.parametrize("saved", [False, True])
def test_annotations_count_from_the_first_sample_as_mne_has_them(tmp_path, rng, date, crop, saved):
    raw = mne.io.RawArray(rng.standard_normal((1, 5000)), mne.create_info(1, 250.0, "eeg"), verbose="error")
    raw.set_annotations(mne.Annotations(ONSETS, 0.1, ["a", "b", "a"]))
    if date is not None:
        raw.set_meas_date(date)
    raw.crop(tmin=crop)
    if saved:
        raw.save(tmp_path / "x_raw.fif", verbose="error")
        raw = mne.io.read_raw(tmp_path / "x_raw.fif", verbose="error")
    events, _ = mne.events_from_annotations(raw, verbose="error")
    by_mne = (events[:, 0] - raw.first_samp) / 250
    np.testing.assert_allclose(annotation_seconds(raw), ONSETS - crop, atol=1e-4)
    np.testing.assert_allclose(annotation_seconds(raw), by_mne, atol=0.5 / 250 + 1e-6)


def test_clock_times_become_places_in_the_file(paused):
    places = paused.places(np.array([0.0, 2.5, 2.99, 4.0, 8.0, 9.5, 10.5, 11.0, 14.5]))
    np.testing.assert_allclose(places, [0, 2.5, 2.99, np.nan, 3.0, 4.5, np.nan, 5.0, 8.5])
    assert paused.paused == 6.0


def test_a_stretch_that_ends_in_a_pause_ends_at_the_seam(paused):
    begins, ends = paused.spans(np.array([2.0, 4.0, 8.5]), np.array([3.0, 5.0, 0.5]))
    np.testing.assert_allclose(begins, [2.0, 3.0, 3.5])
    np.testing.assert_allclose(ends, [3.0, 4.0, 4.0])


def test_what_crosses_a_seam(paused):
    first = np.array([0, 290, 299, 300, 480, 510])
    crossed = paused.crosses(first, first + 15)
    assert crossed.tolist() == [False, True, True, False, False, False]
    assert paused.crosses(np.array([299]), np.array([300])).tolist() == [True]


def test_marks_of_joined_pieces_are_seams(rng):
    info = mne.create_info(1, 100.0, "eeg")
    pieces = [mne.io.RawArray(rng.standard_normal((1, n)), info, verbose="error") for n in (300, 200)]
    joined = mne.concatenate_raws(pieces, verbose="error")
    assert clock_of(joined).starts.tolist() == [0, 300]
    marked = mne.io.RawArray(rng.standard_normal((1, 500)), info, verbose="error")
    marked.set_annotations(mne.Annotations([1.0, 2.0, 3.0], 0.0, ["boundary", "New Segment/", "stimulus"]))
    assert clock_of(marked).starts.tolist() == [0, 100, 200]
