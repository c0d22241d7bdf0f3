"""A monitor without a terminal, driven by keystrokes, and what its screen shows."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

SIZES = ((80, 24), (120, 40), (200, 60))


def drive(app, script, size=(120, 40)):
    """Run `app` without a terminal and `script(pilot)` on it; what the script returns."""

    async def run():
        async with app.run_test(size=size) as pilot:
            await settled(pilot)
            return await script(pilot)

    return asyncio.run(run())


async def settled(pilot):
    """Wait until a whole round of reading has reached the screen."""
    app = pilot.app
    for _ in range(400):
        await pilot.pause(0.01)
        if app.has_news and not app._reading and not app.news.more and not list(app.workers):
            break
    await pilot.pause()


async def press(pilot, *keys):
    """Press `keys`, and wait for what they bring."""
    await pilot.press(*keys)
    await settled(pilot)


def shown(app) -> str:
    """The characters on the screen, line by line."""
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)


def rewrite(path: Path, **changes) -> None:
    """Change fields of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
