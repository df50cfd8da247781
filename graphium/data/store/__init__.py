"""A prepared table on disk, and how it is made."""
