"""Scores of explanations and of classifiers, each with its uncertainty."""
