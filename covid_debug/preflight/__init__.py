"""What can be known about a run before its first stage: what would stop it, what it will cost."""
