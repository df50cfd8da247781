"""Names of the files of a model, and how one of the hub is written."""

CONFIG, WEIGHTS, CARD = "config.yaml", "model.safetensors", "README.md"
# What may lie beside a model and belongs to it.
BESIDE = ("calibration.safetensors", "domain.safetensors")
FILES = (WEIGHTS, CONFIG, CARD, *BESIDE)
HUB = "hub:"
