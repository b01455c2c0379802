"""Saliency methods against each other and against the published algorithm written plainly."""
