"""Prefect: the flow of the whole loop and its tasks."""
