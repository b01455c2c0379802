"""Our own marker detector: a small character-region network, its recipe and its weights."""
