"""Images and shapes to codes and back."""
