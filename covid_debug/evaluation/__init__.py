"""Scores and statistics of classifiers and of explanations."""
