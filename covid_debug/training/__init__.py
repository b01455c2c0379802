"""The training loop and its batch balancing."""
