"""What reading libraries warn of: a note of the account, a refusal where numbers change, or known to be harmless."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import mne

from neurodec.data.account import Account
from neurodec.errors import NeurodecError

HARMLESS = re.compile(
    "|".join(
        (
            "does not conform to MNE naming conventions",
            "data contains 'boundary' events",  # seams of the clock; no epoch crosses one
            "At least one epoch has multiple events",  # named anew, by the event at 0 s
            "Not setting positions? of",
            "Fiducial point .* not found",
            "Estimated head radius",
            "preload=False will result in edge artifacts",  # channels of other rates are read as a whole
            "Limited .* annotation",  # cut at the recording's end
            "Number of records from the header does not match",  # refused where samples are lost
            "unit for channel.* has changed",
            "Segments and clock-segments differ",  # pauses are found by our own rule, in the stamps themselves
            "saved with an older version of MNE|This (filename|file) .* (must|should) end with",
            r"is deprecated|will be removed in|will change in",
        )
    ),
    re.IGNORECASE,
)
"""Warnings that change nothing in what is read."""

_CHANGED = re.compile("could not be read, acquisition error|samples set to zero|not evenly divisible")
_LONGEST = 240  # characters of a library's own words
_LOGGERS = ("pyxdf", "nibabel.global")  # of libraries that log where others warn


class _Collector(logging.Handler):
    """Keeps what is logged from warnings upwards."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


@contextmanager
def heard(account: Account, where: str, counted: str = "$^") -> Iterator[list[str]]:
    """Enter what a library warns of in the block into an account.

    Parameters
    ----------
    account : Account
        Gets a note for every warning that is not in `HARMLESS`.
    where : str
        Names the file in a refusal.
    counted : str
        Pattern of warnings of what the caller counts itself; none by default.

    Yields
    ------
    list of str
        All warnings, filled when the block ends.

    Raises
    ------
    NeurodecError
        If the library says that it put other numbers in place of recorded ones.
    """
    told: list[str] = []
    collector, loggers = _Collector(), [logging.getLogger(name) for name in _LOGGERS]
    passed_on = [logger.propagate for logger in loggers]
    for logger in loggers:
        logger.addHandler(collector)
        logger.propagate = False  # told in the account, not on the terminal
    try:
        with warnings.catch_warnings(record=True) as caught, mne.utils.use_log_level("warning"):
            warnings.simplefilter("always")
            yield told
    finally:
        for logger, before in zip(loggers, passed_on, strict=True):
            logger.removeHandler(collector)
            logger.propagate = before
    told += [" ".join(text.split()) for text in (*(str(item.message) for item in caught), *collector.texts)]
    for text in told:
        if _CHANGED.search(text):
            raise NeurodecError(
                f"{where} holds samples that cannot be read ({text[:_LONGEST]}); copy it again, or cut the damaged "
                "stretch out."
            )
        if not HARMLESS.search(text) and not re.search(counted, text):
            account.note(f"the reading library warned: {text[:_LONGEST]}")
