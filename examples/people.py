"""A video: who showed what, and for how long.

python examples/people.py talk.mp4
"""

import sys

import mien
from mien import run
from mien.sources import Video
from mien.timeline import Timeline

pipeline = mien.load(threads=1)
timeline = Timeline(pipeline.classifier.labels)
for item in run.results(Video(sys.argv[1]), pipeline.stream()):
    run.give(item, [timeline])
for person in timeline.summary():
    shares = ", ".join(f"{name} {share:.0%}" for name, share in person.share.items() if share >= 0.01)
    print(f"person {person.id}, from {person.first:.1f} to {person.last:.1f} s: {shares}")
