"""Gains of unverified tasks against controls."""
