"""Pixels without torch: reading, writing, geometry, regions, inpainting, overlays."""
