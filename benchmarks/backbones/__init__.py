"""Which saliency methods are right on which networks, in which precision."""
