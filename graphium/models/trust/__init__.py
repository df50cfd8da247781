"""How far a prediction can be trusted: intervals, spreads, and the distance to what the model was trained on."""
