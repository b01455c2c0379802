"""Data sets of films: sources, split lists, integrity, views, phantoms."""
