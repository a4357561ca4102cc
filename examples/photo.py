"""One picture: what each face shows, and a copy with the faces marked.

python examples/photo.py photo.jpg marked.png
"""

import sys

import cv2

import mien
from mien.draw import draw

result = mien.load()(sys.argv[1])
for face in result.faces:
    doubt = " (not sure)" if face.uncertain else ""
    print(f"{face.emotion} {face.confidence:.0%}{doubt} at {tuple(round(value) for value in face.box)}")
if not result.faces:
    print("no face found")
cv2.imwrite(sys.argv[2], draw(result))
