"""Files, processes, pictures on their way in: knows no scene."""
