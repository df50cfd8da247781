"""A network at rest: saved models and their cards."""
