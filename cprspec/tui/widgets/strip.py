"""A few frames of a clip as a picture in the terminal: two pixels in each cell, as a half block.

Works wherever there are colours, over SSH and in tmux; protocols that send real pictures do not.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from rich.color import Color
from rich.style import Style
from rich.text import Text

from cprspec.tui.text import plain

MOST_BYTES = 1 << 20
MOST_PIXELS = 4 << 20
"""A strip is 64 pixels high and a few hundred wide; what is larger is no strip."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}\.jpe?g")


def strip_text(folder: Path, name: str, columns: int, rows: int) -> Text:
    """The picture `name` in `folder` in at most `columns` x `rows` cells; words where there is none to show."""
    if not _NAME.fullmatch(name):
        return Text("(").append_text(plain(name, 40)).append(" is no name of a picture)")
    path = folder / name
    try:
        stamp = path.stat().st_mtime_ns
    except OSError:
        return Text("(the picture is gone)", style="dim")
    return _drawn(path, stamp, columns, rows)


@lru_cache(maxsize=256)
def _drawn(path: Path, _stamp: int, columns: int, rows: int) -> Text:
    from PIL import Image, UnidentifiedImageError

    try:
        if not path.is_file() or path.stat().st_size > MOST_BYTES:
            return Text("(no picture, or too large)", style="dim")
        with Image.open(path, formats=("JPEG",)) as opened:
            width, height = opened.size
            if width * height > MOST_PIXELS or not width or not height:
                return Text("(the picture is too large)", style="dim")
            high = 2 * rows
            wide = max(1, min(columns, round(width * high / height)))
            high = max(2, 2 * (min(high, round(wide * height / width) + 1) // 2))
            pixels = opened.convert("RGB").resize((wide, high), Image.Resampling.BOX).tobytes()
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError) as error:
        return Text("(the picture cannot be read: ", style="dim").append_text(plain(error, 60)).append(")")
    lines = [_line(pixels[3 * wide * y : 3 * wide * (y + 2)], wide) for y in range(0, high, 2)]
    return Text("\n").join(lines)


def _line(pixels: bytes, wide: int) -> Text:
    """Two rows of pixels as one line of half blocks: the upper as foreground, the lower as background."""
    text = Text(no_wrap=True)
    for x in range(wide):
        upper, lower = (pixels[3 * (x + row * wide) : 3 * (x + row * wide) + 3] for row in (0, 1))
        text.append("▀", Style(color=Color.from_rgb(*upper), bgcolor=Color.from_rgb(*lower)))
    return text
