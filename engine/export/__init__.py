"""Shards as other tools' trainers want them, and other tools' images as shards.

A form to export to is one file: a function from (folder, samples, header) to files, listed in `export.FORMS`.
"""
