"""Text detectors against hand-drawn boxes on real films."""
