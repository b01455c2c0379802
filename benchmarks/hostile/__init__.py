"""What strangers' files do to the commands: films made by mutation, and what became of them."""
