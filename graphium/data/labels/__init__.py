"""Labels from cells to blocks on disk, and their transforms."""
