"""Which images help: how near the synthetic images of each class and prompt strategy are to real ones.

distances   FID, KID, precision and recall, density and coverage, of two sets of features
neighbours  the nearest images of another set, and which images are copies; leaks: copies across splits
encoder     features and margins: a classifier trained on real images, or hub_encoder: CLIP, DINOv2
groups      the images of a run, and the real ones beside them
rows        the table; gain: what a sweep gained for each class
measure     all of it for a run
"""
