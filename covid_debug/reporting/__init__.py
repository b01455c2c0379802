"""Tables, figures and the self-contained report."""
