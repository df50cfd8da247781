"""What every atom contributes to a prediction, as numbers and pictures."""
