"""Reading and writing video: files, raw YUV, pictures, and colors."""
