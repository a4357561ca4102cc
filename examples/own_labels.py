"""How good a model is on your own labelled crops: folders named after the emotions, with pictures of one face each.

python examples/own_labels.py crops/
"""

import sys
from pathlib import Path

import numpy as np

from mien import classify, image, metrics

model = classify.model()
crops, truth = [], []
for number, label in enumerate(model.labels):
    for path in sorted(Path(sys.argv[1], label).glob("*.png")):
        crops.append(image.gray48(image.decode(path.read_bytes(), str(path))))
        truth.append(number)
report = metrics.evaluate(model(np.stack(crops)), truth, model.labels)
low, high = report.interval
print(f"{len(crops)} faces: {report.accuracy:.1%} right ({low:.1%} to {high:.1%})")
for label, figures in report.per_class.items():
    print(f"{label}: {figures['recall']:.1%} of {figures['support']:.0f}")
