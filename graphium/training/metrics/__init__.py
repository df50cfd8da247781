"""Exact metrics of all tasks of a head at once, over the labels that exist."""
