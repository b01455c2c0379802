"""Text that a model really learned: planted on real films, held against known truth."""
