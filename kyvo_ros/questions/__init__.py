"""The question language: functional programs, their execution on a scene, and their phrasing (pure Python)."""
