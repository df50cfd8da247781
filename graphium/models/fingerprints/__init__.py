"""Vectors of molecules and atoms out of any place of a network."""
