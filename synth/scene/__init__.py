"""What is in a picture, drawn from random streams: a SceneSpec. No OpenGL."""
