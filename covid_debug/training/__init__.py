"""Training of classifiers from uint8 views."""
