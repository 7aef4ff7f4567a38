"""Every default of the laboratory: one YAML file a script, a folder a choice."""
