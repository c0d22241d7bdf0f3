"""The shell of a page that stands alone: templates, one style, one script, and a policy that lets nothing else run or load.

Every text that reaches a template is cleaned and escaped; pictures are part of the page. The policy names style and script by
their digests, so that text which were taken for markup after all could neither run nor ask for anything.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from cprspec.errors import clean

FOLDER = Path(__file__).parent


def render(template: str, **content: Any) -> str:
    """The page that `template` makes of `content`."""
    style, script = ((FOLDER / name).read_text("utf-8").strip() for name in ("page.css", "page.js"))
    policy = f"default-src 'none'; img-src data:; style-src {_digest(style)}; script-src {_digest(script)}"
    more = {"style": Markup(style), "script": Markup(script), "policy": Markup(policy)}  # noqa: S704 # files of this package
    return _environment().get_template(template).render(**content, **more)


def picture(content: bytes, kind: str) -> Markup:
    """The address of a picture (`jpeg`, `svg+xml`) within the page."""
    return Markup(f"data:image/{kind};base64,{b64encode(content).decode('ascii')}")  # noqa: S704 # base64 is no markup


def lines(text: str) -> Markup:
    """A text of several lines for `<pre>`: the one place where a line break is no mark to be made visible."""
    return Markup("\n").join(escape(clean(line.expandtabs(4))) for line in text.splitlines())


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_cleaned,
    )
    environment.filters["lines"] = lines
    return environment


def _cleaned(value: Any) -> Any:
    return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _digest(text: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}'"
