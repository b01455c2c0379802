"""How the weights of the marker detector were made: one seeded command."""
