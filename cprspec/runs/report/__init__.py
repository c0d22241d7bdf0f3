"""A page for a colleague: what runs were, found and mined, in one file that asks the network for nothing.

`page` is the shell that this page and the gallery of `cprspec search` share; `content` says what a report holds, `mined` what
was mined for whom.
"""
