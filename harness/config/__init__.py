"""The configuration: its types, its checks, its hints, and the identity of a run."""
