"""Prompt banks, written by language models and vision-language models before any image is made.

spec -> topics -> rounds of questions -> responses of a model, cached on disk -> usable prompts -> bank
"""
