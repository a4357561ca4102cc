"""One picture: what each face shows, and a copy with the faces marked.

python examples/photo.py photo.jpg marked.png
"""

import sys

import mien

result = mien.load()(sys.argv[1])
for face in result:
    doubt = " (not sure)" if face.uncertain else ""
    print(f"{face.emotion} {face.confidence:.0%}{doubt} at {tuple(round(value) for value in face.box)}")
if not result:
    print("no face found")
result.save(sys.argv[2])
