"""A camera or stream: a line whenever somebody's emotion changes. Ctrl-C ends it.

python examples/changes.py 0
"""

import sys

import mien
from mien.live import Live

stream = mien.load().stream()
last: dict[int | None, str] = {}
with Live(sys.argv[1]) as camera:
    for item in camera:
        if isinstance(item, mien.Failure):
            print(item.reason)
            continue
        for face in stream.process(item).faces:
            if not face.uncertain and last.get(face.id) != face.emotion:
                last[face.id] = face.emotion
                print(f"{item.time:.1f} s: person {face.id} looks {face.emotion} ({face.confidence:.0%})", flush=True)
