"""The paper's ablations at a small size: `kyvo cookbook` trains a short run a row and writes a table and plots."""
