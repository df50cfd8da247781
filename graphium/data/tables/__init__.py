"""Tables as files: where they are, their columns, their cells."""
