"""`covid-debug bench clean`: ways of cleaning side by side, and how fast and flat it runs."""
