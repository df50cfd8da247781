"""What a user says of a data set, the known ones, and what their tables turn out to hold."""
