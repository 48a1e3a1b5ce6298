"""The folder that a student is handed over in: written, opened, packed for a board, made of another team's model."""
