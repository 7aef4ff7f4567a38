"""The report: HTML page, figures and terminal summary."""
