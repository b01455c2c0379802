"""How what is shipped was made; not part of the wheel."""
