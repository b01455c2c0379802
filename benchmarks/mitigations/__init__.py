"""`covid-debug bench mitigations`: what helps against text, by how much text tells of the class."""
