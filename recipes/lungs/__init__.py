"""How the weights of the lung finder were made: one seeded command."""
