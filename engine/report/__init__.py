"""The report of a run: one self-contained HTML page about a run, its sweep and its measures.

It needs no other file and no network. It has no script: its switches work by CSS alone, so text from outside that
escapes nothing can run nothing.
"""
