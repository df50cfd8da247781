"""Arrays to batches: tables, labels, splits, the store on disk, the gather, known datasets. Knows no Lightning."""
