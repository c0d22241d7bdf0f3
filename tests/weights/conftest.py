"""A finished run over a few small videos, and a cache of the session's own."""

from __future__ import annotations

import pytest
from made_run import make_run, write_video


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """A cache folder of the session's own, so that tests neither need nor touch the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CPRSPEC_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def videos(tmp_path_factory):
    """Two classes of two videos, of 20 and of 6 frames: one is shorter than a clip."""
    root = tmp_path_factory.mktemp("videos")
    for name, frames in (("a/1.mp4", 20), ("a/2.mp4", 17), ("b/1.mp4", 6), ("b/2.mp4", 30)):
        write_video(root / name, frames)
    return root


@pytest.fixture(scope="session")
def made(tmp_path_factory, videos):
    """The finished run; tests must not change it."""
    return make_run(tmp_path_factory.mktemp("made"), videos)
