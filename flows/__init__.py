"""Prefect flows and the command line of covid_debug."""
