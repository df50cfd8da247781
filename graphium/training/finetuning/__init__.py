"""Going on from a saved model: what is taken over, what is new, what is trained when."""
