"""A folder of pictures: a table with a row a face, and how often each emotion was seen. Bad files do not stop it.

python examples/folder.py pictures/ faces.csv
"""

import sys
from collections import Counter

import mien
from mien import run, sinks

pipeline = mien.load(threads=1)  # pictures are searched in several threads: each needs no more than its own
seen: Counter[str] = Counter()
with sinks.Csv(sys.argv[2], pipeline.classifier.labels) as table:
    for item in run.pictures(sys.argv[1], pipeline):
        run.give(item, [table])
        if isinstance(item, mien.Failure):
            print(f"left out: {item.reason}")
        else:
            seen.update(face.emotion for face in item.faces)
for emotion, count in seen.most_common():
    print(f"{emotion}: {count}")
