"""What an epoch draws, in which batches."""
