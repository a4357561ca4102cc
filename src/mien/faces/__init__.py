"""Face detectors, crops, classifiers and the tracker."""
