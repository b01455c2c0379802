"""How well lungs are found: films annotated by eye, phantoms, yardsticks."""
