"""Frames as a speech model would give them, for texts that are known."""

from __future__ import annotations

import numpy as np

from omnifuse.data.bpe import SPACE


def spoken_frames(text, pieces, *, seed=0, sureness=6.0, noise=1.0, quiet=(), quiet_frames=30):
    """Log-probabilities (F, V), and of each word (text, first frame, last frame).

    Args:
        text: Words of characters that are pieces.
        pieces: Of the tokenizer.
        seed: One seed gives the same frames.
        sureness: Logit of the right token.
        noise: Spread of all logits.
        quiet: Numbers of the words before which there is a silence.
        quiet_frames: Its length.
    """
    random = np.random.default_rng(seed)
    index = {piece: number for number, piece in enumerate(pieces)}
    path, words = [0] * 3, []
    for number, word in enumerate(text.split()):
        if number in quiet:
            path += [0] * quiet_frames
        if number:
            path += [index[SPACE]] + [0] * int(random.integers(0, 2))
        first = len(path)
        for letter in word:
            path += [index[letter]] * int(random.integers(1, 3)) + [0] * int(random.integers(1, 3))
        last = max(at for at in range(len(path)) if path[at])
        words.append((word, first, last))
    path += [0] * 3
    logits = random.normal(0, noise, (len(path), len(pieces)))
    logits[np.arange(len(path)), path] += sureness
    logits[:, 1:4] = -20
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)), words
