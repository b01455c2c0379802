"""The command line: arguments in, wording out; the work is done elsewhere."""
