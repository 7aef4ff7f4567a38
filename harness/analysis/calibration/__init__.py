"""How often the analysis is right: simulated tables, confusion matrix, coverage and power."""
