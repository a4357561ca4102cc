"""Colours of emotions and panels, BGR, 0..255."""

from __future__ import annotations

from mien.types import Face

Colour = tuple[int, int, int]

COLOURS: dict[str, Colour] = {
    "angry": (0, 94, 213),
    "happy": (66, 228, 240),
    "sad": (233, 180, 86),
    "surprise": (167, 121, 204),
    "neutral": (115, 158, 0),
    "disgust": (178, 114, 0),
    "fear": (0, 159, 230),
}
"""BGR, 0..255, from the colour-blind safe palette of Okabe and Ito (2008). Its gray is left out: to the green-blind it
equals the purple of surprise, and here gray means uncertain."""

WHITE: Colour = (255, 255, 255)
OTHER: Colour = WHITE  # an emotion without a colour of its own
DARK: Colour = (20, 20, 20)
MUTED: Colour = (185, 185, 185)
TRACK: Colour = (90, 90, 90)  # behind a bar: shows the full length


def face_colour(face: Face) -> Colour:
    return MUTED if face.uncertain or not face.probabilities else COLOURS.get(face.emotion, OTHER)
