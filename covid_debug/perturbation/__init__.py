"""How an image and a keep mask become a perturbed image."""
