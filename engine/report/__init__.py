"""The report of a run: one self-contained HTML page about a run, its sweep and its measures.

The page needs no other file and no network. It has no script: its switches work by CSS alone, so text from outside that
escapes nothing can run nothing. `write_report` writes it, `page` collects what it shows, the templates beside these
modules lay it out.
"""
