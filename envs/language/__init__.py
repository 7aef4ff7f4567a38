"""Free-form tasks. Training cannot check them: their verifier says UNSCORABLE, and their scorers live in envs.graders.

The answer of a problem is one good answer of many, for pretraining and for people to read.
"""
