"""Losses, the training loop and the recipes for the decoder and the autoencoders."""
