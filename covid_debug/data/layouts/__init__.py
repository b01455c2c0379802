"""How films of other people are laid out: tables, folders and the public data sets."""
