"""Programs to run, to write, to mend and to judge."""
