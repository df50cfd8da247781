"""Losses over label triples: what a head is trained on."""
