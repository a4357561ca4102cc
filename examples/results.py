"""Photographs and a video: faces, annotated copies, tables and detections.

python examples/results.py annotated/ talk.mp4 a.jpg b.jpg ...
"""

import sys
from pathlib import Path

import cv2

import mien

folder, talk, photos = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
folder.mkdir(parents=True, exist_ok=True)

pipeline = mien.load("mien-s", detector="yunet", threads=1)
results = pipeline(photos)  # a list of images gives a list of results, with one call of the network
print(results)

for result in results:
    for face in result:
        x1, y1, x2, y2 = map(round, face.box)
        doubt = ", not sure" if face.uncertain else ""
        print(f"{result.name}: {face.emotion} {face.confidence:.0%}{doubt}, {x2 - x1} x {y2 - y1} pixels")
    result.save(folder / f"{Path(result.name).stem}_faces.jpg")

first = results[0]
cv2.imwrite(str(folder / "small.png"), cv2.resize(first.plot(), (320, 320)))  # BGR; plot(rgb=True) for matplotlib
(folder / "first.json").write_text(first.to_json(indent=2), encoding="utf-8")

table = results.to_pandas()  # a row a face
table.to_csv(folder / "faces.csv", index=False)
print(table.groupby("emotion")["confidence"].agg(["count", "mean"]).round(2))

people: dict[int | None, list[str]] = {}
for result in pipeline.track(talk):
    for face in result:
        people.setdefault(face.id, []).append(face.emotion)
for number, emotions in people.items():
    print(f"person {number}: {max(set(emotions), key=emotions.count)} in most of {len(emotions)} frames")
