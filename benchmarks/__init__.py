"""The scripts behind every figure in the documents; run one with `python -m benchmarks.<folder>.<name>`."""
