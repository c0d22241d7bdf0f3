"""Imported by the server that data workers are forked from, and by nothing else: it ends with the process it serves.

Data workers end with the server (video/clips.py). On its own the server would live on with them, since each of them keeps
open what it waits for.
"""

from cprspec.processes import die_with_parent

die_with_parent()
