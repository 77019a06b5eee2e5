"""Prompt banks, written by language models and vision-language models before any image is made.

    spec -> topics -> rounds of questions -> responses of a model, cached on disk -> usable prompts -> bank

A topic is a class or a real image. `question_planner` and `response_parser` decide what is asked and what is kept, as
pure functions. `response_cache` lets an interrupted job resume.
"""
