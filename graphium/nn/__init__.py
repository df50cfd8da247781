"""Batches to predictions: encoders, message-passing layers, pooling, heads, the network. Knows no files."""
