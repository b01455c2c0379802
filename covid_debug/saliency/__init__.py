"""Explainers behind one contract."""
