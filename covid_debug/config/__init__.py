"""Configuration files: what they may say and how they become parameters of the library."""
