"""CSV files with a header, read whole, each record with the line on which it ends."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from cprspec.errors import MAX_ECHO, CprspecError, Place, Problem, clean

Row = dict[str | None, str | None]
"""The values of one record by column; those beyond the header under None."""

Numbered = list[tuple[int, Row]]


def read_table(path: Path, needed: Sequence[str], what: str, hint: str) -> Numbered:
    """The records of the CSV file `path`, called `what` in messages.

    CprspecError if it cannot be read, lacks one of the `needed` columns, or names no videos.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            columns = list(reader.fieldnames or ())
            rows: Numbered = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CprspecError(Problem(f"cannot read the {what} ({error})", Place(str(path)))) from error
    missing = [column for column in needed if column not in columns]
    if missing:
        found = clean(", ".join(columns), MAX_ECHO) or "nothing"
        message = f"no column '{missing[0]}' in the {what}'s header: {found}"
        raise CprspecError(Problem(message, Place(str(path), 1), hint))
    if not rows:
        raise CprspecError(Problem(f"the {what} names no videos", Place(str(path), 1)))
    return rows
