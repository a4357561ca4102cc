"""The colours of emotions and panels, BGR."""

from __future__ import annotations

from mien.types import Face

Color = tuple[int, int, int]

COLOURS: dict[str, Color] = {
    "angry": (0, 94, 213),
    "happy": (66, 228, 240),
    "sad": (233, 180, 86),
    "surprise": (167, 121, 204),
    "neutral": (115, 158, 0),
    "disgust": (178, 114, 0),
    "fear": (0, 159, 230),
}
"""BGR, 0..255, from the palette of Okabe and Ito (2008), which the colour-blind can tell apart. Its gray is left out:
to the green-blind it is the purple of surprise, and here gray means uncertain."""

OTHER: Color = (255, 255, 255)
WHITE: Color = (255, 255, 255)
DARK: Color = (20, 20, 20)
MUTED: Color = (185, 185, 185)
GROUND: Color = (90, 90, 90)  # behind a bar, so that one sees how long it could be


def face_color(face: Face) -> Color:
    return MUTED if face.uncertain or not face.probabilities else COLOURS.get(face.emotion, OTHER)
