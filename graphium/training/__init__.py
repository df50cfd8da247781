"""Predictions to a better network: losses, metrics, the Lightning modules, `run`. Lightning is imported here alone."""
