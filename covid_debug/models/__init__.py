"""Classifiers: networks, their border to images, scores, inference and checkpoints."""
