"""What a reader gets: the self-contained report, the tables and the figures of a run."""
