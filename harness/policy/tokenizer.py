"""Characters to ids and back. The vocabulary is fixed: changing it invalidates every base model.

ids 0-5 are special, 6-15 reserved, 16 newline, 17-111 printable ASCII. A prompt is `BOS text TURN`; the model answers
after TURN and closes with EOS; environment text of a later turn is `ENV text TURN`. A policy that thinks writes
`scratchpad ANSWER text`: the verifier reads what follows the last ANSWER.
"""

from collections.abc import Sequence

import numpy as np

from harness.core.errors import UserError

PAD, BOS, EOS, TURN, ENV, ANSWER = range(6)
VOCAB_SIZE = 112
_FIRST_CHARACTER = 16
_CHARACTERS = "\n" + "".join(chr(c) for c in range(32, 127))
_NAMES = {PAD: "PAD", BOS: "BOS", EOS: "EOS", TURN: "TURN", ENV: "ENV", ANSWER: "ANSWER"}

# Special ids decode to characters outside ASCII, so that no sampled text can pass for an answer that holds one.
_GLYPHS = [f"⟨{_NAMES.get(i, i)}⟩" for i in range(_FIRST_CHARACTER)] + list(_CHARACTERS)
_ASCII = np.frombuffer(("?" * _FIRST_CHARACTER + _CHARACTERS).encode(), dtype=np.uint8)
_UNKNOWN = 255
_ID_OF_BYTE = bytearray([_UNKNOWN] * 256)
for _i, _character in enumerate(_CHARACTERS):
    _ID_OF_BYTE[ord(_character)] = _FIRST_CHARACTER + _i


def _translated(text: str) -> bytes:
    """One id a byte. Raises UserError on a character that is not in the vocabulary."""
    ids = text.encode("latin-1", "replace").translate(_ID_OF_BYTE)
    if not text.isascii() or _UNKNOWN in ids:
        bad = next(c for c in text if c not in _CHARACTERS)
        raise UserError(
            f"The text {text[:60]!r} holds the character {bad!r}.",
            "The vocabulary is printable ASCII and newline, fixed so that base models stay comparable.",
            "Write the task's prompts and answers in plain ASCII.",
        )
    return ids


def _array(ids: bytes) -> np.ndarray:
    return np.frombuffer(ids, dtype=np.uint8).astype(np.int64)


def encode(text: str) -> np.ndarray:
    """ids of printable ASCII and newline, int64 [len(text)]. Raises UserError on any other character."""
    return _array(_translated(text))


def decode(ids: Sequence[int]) -> str:
    """Text of ids; special ids appear as ⟨NAME⟩. decode(encode(text)) == text."""
    return "".join([_GLYPHS[i] for i in ids])


def encode_prompt(text: str) -> np.ndarray:
    """ids of a first prompt: BOS text TURN."""
    return _array(bytes([BOS]) + _translated(text) + bytes([TURN]))


def encode_environment_reply(text: str) -> np.ndarray:
    """ids of environment text between two completions: ENV text TURN."""
    return _array(bytes([ENV]) + _translated(text) + bytes([TURN]))


def encode_completion(text: str, scratchpad: str | None = None) -> np.ndarray:
    """ids of a whole completion: text EOS, or scratchpad ANSWER text EOS, also for an empty scratchpad."""
    thought = b"" if scratchpad is None else _translated(scratchpad) + bytes([ANSWER])
    return _array(thought + _translated(text) + bytes([EOS]))


def completion_text(completion: Sequence[int]) -> str:
    """The text of a completion, scratchpad and all, without the EOS that closed it."""
    ids = list(completion)
    return decode(ids[:-1] if ids and ids[-1] == EOS else ids)


def answer_in(text: str) -> str:
    """What a verifier reads of the text of a completion: all that follows the last ANSWER."""
    return text.rpartition(_GLYPHS[ANSWER])[2]


def answer_text(completion: Sequence[int]) -> str:
    """What a verifier reads: the text after the last ANSWER, without the EOS that closed it."""
    return answer_in(completion_text(completion))


def answer_texts(completions: np.ndarray, length: np.ndarray) -> list[str]:
    """`answer_text` of the first length[b] ids of each row [B, C], C at least 1."""
    rows, width = completions.shape
    closed = (length > 0) & (completions[np.arange(rows), np.maximum(length - 1, 0)] == EOS)
    end = length - closed
    special = (completions < _FIRST_CHARACTER) & (np.arange(width) < end[:, None])
    text, ends = _ASCII[completions].tobytes().decode("latin-1"), end.tolist()
    texts = [text[row * width : row * width + n] for row, n in enumerate(ends)]
    odd = np.flatnonzero(special.sum(axis=1))
    for row, ids in zip(odd.tolist(), completions[odd].tolist()):
        texts[row] = answer_in(decode(ids[: ends[row]]))
    return texts
