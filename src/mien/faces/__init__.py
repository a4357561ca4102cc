"""Faces: detectors, crops, classifiers and the tracker."""
