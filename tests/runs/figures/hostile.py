"""Names that would be markup, mathematics, terminal control or bad XML if a figure took them for more than text."""

from __future__ import annotations

EVIL = (
    "$\\frac{",
    "_hidden",
    "<b>&amp;</b> -->]]>",
    "\x1b[2J\x00\u202e\u2028",
    "\ufffe\uffff\ud800",
    "% \\input{x} {0} %s",
)
EVIL_SHOWN = (
    "$\\frac{",
    "_hidden",
    "<b>&amp;</b> -->]]>",
    "\\x1b[2J\\x00\\u202e\\u2028",
    "\\ufffe\\uffff\\ud800",
    "% \\input{x} {0} %s",
)
