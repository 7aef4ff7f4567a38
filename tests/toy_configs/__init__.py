"""A small tree of configurations for the tests of harness.cli."""
