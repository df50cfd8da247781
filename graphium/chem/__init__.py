"""Text to arrays: parsing, atom and bond properties, encodings. Knows RDKit and numpy, no torch."""
