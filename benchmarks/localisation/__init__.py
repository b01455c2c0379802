"""Maps judged by what is known to matter: planted text, phantom marks and signs, native text."""
