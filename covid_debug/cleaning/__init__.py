"""From COVIDx to COVIDx++: inpainting, provenance, proof."""
