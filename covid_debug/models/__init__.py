"""Classifiers, their checkpoints, and the only code that calls them."""
