"""Kyvo on a robot: a camera goes in, a structured 3D scene comes out (arXiv 2506.08002)."""

__version__ = "0.1.0"
