"""Tables in and out: input files, columns of predictions, outputs that survive a kill."""
