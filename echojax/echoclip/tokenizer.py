"""CLIP's tokenizer: byte pair encoding (Sennrich et al., 2016) of lower-cased text.

    tokenize("LEFT VENTRICLE")        # int32 (1, 77): 49406, 1823, 1240, 9511, 579, 49407, 0, 0, ...

A text is cut into words, digits and runs of other signs; each is written in UTF-8, a character per byte, the last one
marked as the end of a word; then the pair of neighbours that stands highest in OpenAI's list of merges is joined, again
and again, until no pair is in the list. What is left are the tokens.
"""

import functools
import gzip
import html
import importlib.resources
import itertools
import re
import unicodedata
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Int

MERGES_FILE = "bpe_simple_vocab_16e6.txt.gz"
CONTEXT_LENGTH = 77
END_OF_WORD = "</w>"
START_OF_TEXT, END_OF_TEXT = "<start_of_text>", "<end_of_text>"

# The file lists more merges than CLIP uses. With 256 characters inside and at the end of words, start and end: 49,408.
_NUM_MERGES = 48_894
_WHOLE = re.compile(rf"{START_OF_TEXT}|{END_OF_TEXT}|'s|'t|'re|'ve|'m|'ll|'d")
# Over the classes that `_class` gives the characters: letters, one digit or numeral, other signs.
_RUN = re.compile("L+|N|O+")


def tokenize(texts: str | Sequence[str], context_length: int = CONTEXT_LENGTH) -> Int[np.ndarray, "n context_length"]:
    """Token ids of texts: start (49406), text, end (49407), zeros; int32 `(n, context_length)`.

    What does not fit is cut off, the end token kept. White space counts as one blank and HTML entities as what they
    stand for. Equal to open_clip's tokenizer for text that its first step, the repair of wrongly decoded characters by
    the library ftfy, leaves alone; plain ASCII always is.
    """
    texts = [texts] if isinstance(texts, str) else texts
    vocabulary = _vocabulary()
    tokens = np.zeros((len(texts), context_length), np.int32)
    for row, text in zip(tokens, texts, strict=True):
        fitting = encode(text)[: context_length - 2]
        ids = [vocabulary[START_OF_TEXT], *fitting, vocabulary[END_OF_TEXT]]
        row[: len(ids)] = ids
    return tokens


def encode(text: str) -> list[int]:
    """Token ids of a text of any length, without start and end."""
    # Twice, as CLIP does: texts from the web were often escaped twice.
    text = html.unescape(html.unescape(text))
    vocabulary = _vocabulary()
    return [vocabulary[token] for word in _words(" ".join(text.split()).lower()) for token in _tokens(word)]


def _words(text: str) -> Iterator[str]:
    classes = "".join(map(_class, text))
    position = 0
    while position < len(text):
        match = _WHOLE.match(text, position) or _RUN.match(classes, position)
        if match:
            yield text[position : match.end()]
        position = match.end() if match else position + 1


def _class(character: str) -> str:
    if character.isspace():
        return " "
    kind = unicodedata.category(character)[0]
    return kind if kind in "LN" else "O"


@functools.lru_cache(maxsize=4096)
def _tokens(word: str) -> tuple[str, ...]:
    """Joins the neighbours that come first in the list of merges, all places at once, until none is left."""
    if word in (START_OF_TEXT, END_OF_TEXT):
        return (word,)
    ranks, characters = _merge_ranks(), _byte_characters()
    parts = [characters[byte] for byte in word.encode()]
    parts[-1] += END_OF_WORD
    while len(parts) > 1:
        best = min(itertools.pairwise(parts), key=lambda pair: ranks.get(pair, len(ranks)))
        if best not in ranks:
            break
        parts = _join(parts, best)
    return tuple(parts)


def _join(parts: list[str], pair: tuple[str, str]) -> list[str]:
    joined, position = [], 0
    while position < len(parts):
        width = 2 if tuple(parts[position : position + 2]) == pair else 1
        joined.append("".join(parts[position : position + width]))
        position += width
    return joined


@functools.cache
def _vocabulary() -> dict[str, int]:
    characters = list(_byte_characters().values())
    merged = ["".join(pair) for pair in _merge_ranks()]
    words = [*characters, *(c + END_OF_WORD for c in characters), *merged, START_OF_TEXT, END_OF_TEXT]
    return {word: number for number, word in enumerate(words)}


@functools.cache
def _merge_ranks() -> dict[tuple[str, str], int]:
    file = importlib.resources.files(__package__) / MERGES_FILE
    lines = gzip.decompress(file.read_bytes()).decode().split("\n")
    # The first line names the version.
    return {tuple(line.split()): rank for rank, line in enumerate(lines[1 : 1 + _NUM_MERGES])}


@functools.cache
def _byte_characters() -> dict[int, str]:
    """A printable character for each byte: Latin-1's own where it has one, those from 256 on for the others."""
    own = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in own]
    return {byte: chr(byte) for byte in own} | {byte: chr(256 + i) for i, byte in enumerate(others)}
