"""Detectors of burned-in text."""
