"""Prompt banks written by language models and by vision-language models, before any image is made.

    spec -> topics -> rounds of questions -> a model's answers, kept in a journal -> lines that are good -> bank

A topic is a class, or a real image. What is asked and what is kept is decided purely (`topics`, `answers`); models are
in `local` and `server`; `journal` makes a job that was stopped go on where it was.
"""
