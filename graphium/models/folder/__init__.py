"""The files of a model folder, read as those of a stranger."""
