"""Items that need no video, and one that does what a test asks for. Without torch, as data workers are."""

import os
import signal
import time
from pathlib import Path

from attrs import frozen

from cprspec.video.opening import BadVideo
from cprspec.video.tray import Unread


@frozen
class MadeClips:
    """Items of numbers; key 13 does `what`, in a worker."""

    what: str = ""
    size: int = 5
    varied: bool = False

    def item_bytes(self):
        return self.size + 3

    def read(self, key, tray):
        tray.video = 10 * key
        tray.reading(Path(f"/videos/{key}.mp4"))
        if key == 13 and self.what:
            suffer(self.what)
        with tray.decoding():
            time.sleep(0.001)
        tray.room("a", (self.size * (key if self.varied else 1),))[:] = key
        tray.room("b", (3, 1))[:] = 2 * key
        tray.spent.unread += [Unread(key, "torn")] if key == 7 else []
        tray.spent.replaced += key == 7


def suffer(what):
    match what:
        case "hang":
            time.sleep(600)
        case "memory":
            raise MemoryError
        case "bad":
            raise BadVideo(Path("/videos/13.mp4"), "torn")
        case "mistake":
            raise TypeError("no such thing")
        case "leave":
            os._exit(3)
        case _:
            os.kill(os.getpid(), getattr(signal, what))
