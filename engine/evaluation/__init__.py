"""Evaluation: whether synthetic images help, and how near they are to real ones.

sweep          trainings to compare; `comparison` puts their results into RUN/sweep.json
run_measures   measures by class and prompt strategy into RUN/measures.json; one plug-in each in `measures`
encoders       features and class scores of images
neighbours     nearest real images, and copies
"""
