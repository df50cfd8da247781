"""Which part every row belongs to, and what leaks between parts."""
