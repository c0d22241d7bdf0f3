"""The classes of defect that a file named as a video may have: what an index records and a check reports."""

from __future__ import annotations

from enum import StrEnum


class Defect(StrEnum):
    """Why a file is no usable video. The value is the word in index files and in messages."""

    MISSING = "missing"
    """Not there: no such file, a link that leads nowhere, gone between two looks."""

    NOT_A_FILE = "not-a-file"
    """A folder, a FIFO, a device, links in a circle: nothing that is opened."""

    UNREADABLE = "unreadable"
    """There, but the operating system does not let it be read."""

    EMPTY = "empty"
    """No bytes."""

    NOT_A_VIDEO = "not-a-video"
    """No container that holds its own frames: text, a web page, a playlist, noise."""

    NO_VIDEO = "no-video"
    """A container without moving pictures, such as audio with a cover."""

    TRUNCATED = "truncated"
    """The container says that it has more bytes than the file."""

    LYING_HEADER = "lying-header"
    """The header says that there are other frames than there are."""

    DAMAGED = "damaged"
    """Decoding stops with an error."""

    TOO_LARGE = "too-large"
    """Frames, or memory, beyond the bounds."""

    TOO_SLOW = "too-slow"
    """No progress within the time limit."""

    CRASH = "crash"
    """The process that decoded it died."""

    CHANGED = "changed"
    """It changed while it was read."""
