"""Training: the only folder that may import torch, lightning_fabric or kornia."""
