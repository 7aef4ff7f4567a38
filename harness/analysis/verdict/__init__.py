"""The ordered rules that give a curve its verdict, and the checks beside it."""
