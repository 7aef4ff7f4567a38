"""Shared by graders: free text into statements, and the score of a set of them."""

import re


def statements(text: str, separators: str = r"[.;\n]") -> list[str]:
    """The parts between separators, lower case, spaces reduced, empty ones left out."""
    parts = (" ".join(part.lower().split()) for part in re.split(separators, text))
    return [part for part in parts if part]


def score(sound: int, stated: int, covered: float) -> float:
    """Soundness times coverage; nothing stated scores 0."""
    return sound / stated * covered if stated else 0.0
