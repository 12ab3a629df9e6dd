"""The model: simulated sessions, training, scores, reasons and decisions. Pure, but for artifact files."""
