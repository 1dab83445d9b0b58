import mne
import numpy as np
import pandas as pd
import pytest

from neurodec.data import Account
from neurodec.data.clock import Clock
from neurodec.data.events import (
    choose_stimuli,
    events_of_raw,
    inside_recording,
    require_all_named,
    require_single,
)
from neurodec.errors import NeurodecError
from neurodec.preprocessing.triggers import trigger_events

WHOLE = Clock(100.0, 4000, np.array([0]), np.array([0.0]))


def codes(*runs):
    """(value, number of samples) ..."""
    return np.concatenate([np.full(length, value) for value, length in runs])


@pytest.mark.parametrize(
    ("channel", "onsets", "shown"),
    [
        (codes((0, 9), (1, 5), (0, 6), (2, 5), (0, 9)), [9, 20], [1, 2]),
        (codes((0, 9), (1, 1), (3, 5), (0, 9)), [10], [3]),  # lines that switch one after the other
        (codes((0, 9), (3, 5), (2, 1), (0, 9)), [9], [3]),
        (codes((0, 9), (1, 1), (0, 9), (2, 1), (0, 9)), [9, 19], [1, 2]),  # pulses of one sample
        (codes((255, 90), (1, 5), (255, 60), (2, 5), (255, 90)), [90, 155], [1, 2]),  # rests at 255
        (
            codes((0, 9), (1, 20), (2, 20), (1, 20), (2, 20)),
            [9, 29, 49, 69],
            [1, 2, 1, 2],
        ),  # held until the next
        (codes((5, 9), (0, 9), (1, 5), (0, 9)), [18], [1]),  # on when the recording began
        (codes((0, 30)), [], []),
        (np.zeros(0, dtype=int), [], []),
    ],
)
def test_triggers(channel, onsets, shown):
    found = trigger_events(channel)
    assert found[0].tolist() == onsets
    assert found[1].tolist() == shown


def test_triggers_are_those_of_mne_where_mne_finds_them(rng):
    channel = np.zeros(3000)
    for place in np.arange(20, 2900, 37):
        channel[place : place + int(rng.integers(2, 12))] = int(rng.integers(1, 200))
    raw = mne.io.RawArray(channel[None], mne.create_info(["STI"], 100.0, "stim"), verbose="error")
    by_mne = mne.find_events(raw, "STI", verbose="error")
    onsets, shown, left_out = trigger_events(channel.astype(int))
    assert onsets.tolist() == by_mne[:, 0].tolist()
    assert shown.tolist() == by_mne[:, 2].tolist()
    assert left_out == {}


def test_what_is_no_stimulus_is_counted():
    names = [
        "cat",
        "Comment/electrode touched",
        "Response/R  1",
        "boundary",
        "New Segment/",
        "",
        "nan",
        "BAD_jump",
    ]
    names += ["SyncStatus/Sync On", "badger", "boundary value", "Responsible", "edgeways", "dog"]
    account = Account()
    kept = choose_stimuli(pd.DataFrame({"stimulus": names}), None, account, "x")
    assert kept["stimulus"].tolist() == ["cat", "badger", "boundary value", "Responsible", "edgeways", "dog"]
    assert account.events == len(names)
    assert dict(account.left_out) == {
        "without a name": 2,
        "pause marker": 2,
        "comment": 1,
        "response": 1,
        "bad segment": 1,
        "synchronisation marker": 1,
    }


def test_an_event_id_decides_alone():
    table = pd.DataFrame({"stimulus": ["Stimulus/S  1", "Response/R  1", "Stimulus/S 12", "Comment/x"]})
    account = Account()
    assert choose_stimuli(table, {"cat": 1, "late": 12}, account, "x")["stimulus"].tolist() == ["cat", "late"]
    assert dict(account.left_out) == {"not named in `event_id`": 2}
    assert choose_stimuli(table, {"press": "Response/R  1"}, Account(), "x")["stimulus"].tolist() == ["press"]
    with pytest.raises(NeurodecError, match=r"x holds none of the events 7 \(found: Comment/x, "):
        choose_stimuli(table, {"cat": 7}, Account(), "x")
    with pytest.raises(NeurodecError, match=r"holds the event 'S 3' \(car\)"):
        require_all_named({"cat": "S 1", "car": "S 3"}, {"cat"}, "x")


def test_spellings_that_differ_in_case_are_told():
    account = Account()
    choose_stimuli(pd.DataFrame({"stimulus": ["cat", "Cat", "dog"]}), None, account, "x")
    assert account.notes == ["the stimuli Cat and cat differ in case only, and count as two"]


def raw_with(stim=None, marks=()):
    values = [np.random.default_rng(0).standard_normal(4000)] + ([stim] if stim is not None else [])
    names, kinds = ["Cz", "STI"][: len(values)], ["eeg", "stim"][: len(values)]
    raw = mne.io.RawArray(np.array(values), mne.create_info(names, 100.0, kinds), verbose="error")
    raw.set_annotations(mne.Annotations([onset for onset, _ in marks], 0.0, [text for _, text in marks]))
    return raw


def test_the_stimulus_channel_serves_where_no_annotation_is_a_stimulus():
    stim = np.zeros(4000)
    stim[1000:1005] = 7
    marks = [(1.0, "BAD_jump"), (2.0, "Comment/x"), (3.0, "edge artefact")]
    found = events_of_raw(raw_with(stim, marks), None, None, Account(), "x")
    assert found.to_dict("records") == [{"onset": 10.0, "stimulus": "7"}]
    both, account = raw_with(stim, [*marks, (5.0, "cat")]), Account()
    assert events_of_raw(both, None, None, account, "x")["stimulus"].tolist() == ["cat"]
    assert "not from the stimulus channel STI" in account.notes[0]
    assert events_of_raw(both, None, "STI", Account(), "x")["stimulus"].tolist() == ["7"]
    assert events_of_raw(both, {"seven": 7}, None, Account(), "x")["stimulus"].tolist() == ["seven"]


def events(*onsets, name="cat"):
    return pd.DataFrame({"onset": onsets, "stimulus": name})


def test_events_at_the_edges_and_in_pauses_are_counted_not_the_run():
    account = Account()
    kept = inside_recording(events(0.1, 5, 20, 39.9, np.nan), WHOLE, (-0.2, 0.5), account, "x")
    assert kept["onset"].tolist() == [5, 20]
    assert dict(account.left_out) == {"at the edge of the recording": 2, "within a pause of the recorder": 1}
    seam = Clock(100.0, 4000, np.array([0, 2010]), np.array([0.0, 20.1]))
    assert inside_recording(events(5, 20, 30), seam, (-0.2, 0.5), Account(), "x")["onset"].tolist() == [5, 30]


@pytest.mark.parametrize(
    ("onsets", "sentence"),
    [
        (np.arange(2000, 38000, 1500), "they look like milliseconds, so divide them by 1000"),
        (np.arange(200, 3800, 150), "they look like sample numbers, so divide them by 100"),
        (np.arange(41, 60, 1.5), "reach beyond the recording of 40 s"),
    ],
)
def test_times_on_another_scale_are_refused_with_the_likely_cause(onsets, sentence):
    with pytest.raises(NeurodecError, match=sentence):
        inside_recording(events(*onsets), WHOLE, (-0.2, 0.5), Account(), "x")


def test_nothing_stands_there_twice():
    require_single(events(1, 2, 3), "x")
    with pytest.raises(NeurodecError, match=r"x has cat twice at 2 s \(1 such pair"):
        require_single(events(2, 1, 2), "x")
    both = pd.concat([events(1), events(1.00001, name="dog")])
    with pytest.raises(NeurodecError, match="x has both cat and dog at 1 s"):
        require_single(both, "x")
