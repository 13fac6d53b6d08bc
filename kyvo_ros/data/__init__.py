"""Data sets and synthetic sources: scenes with ground truth, in the support-plane frame."""
