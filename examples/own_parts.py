"""A detector and a classifier of your own: is a face crop positive, neutral or negative?

python examples/own_parts.py crops/
"""

import sys

import numpy as np

import mien


class WholeImage:  # for images that are face crops already
    name = "whole image"

    def __call__(self, image):  # uint8 BGR (H, W, 3) -> faces
        return [mien.Face((0, 0, image.shape[1], image.shape[0]))]


class Valence:  # joins the classes of another classifier
    labels, confidence_threshold = ("positive", "neutral", "negative"), 0.7
    model = mien.load().classifier

    def __call__(self, crops):  # uint8 (N, 48, 48) -> probabilities (N, 3)
        p = dict(zip(self.model.labels, self.model(crops).T, strict=True))
        return np.stack([p["happy"], p["neutral"] + p["surprise"], p["angry"] + p["sad"]], axis=1)


print(mien.predict(sys.argv[1], pipeline=mien.Pipeline(WholeImage(), Valence())))
