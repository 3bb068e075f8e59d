"""The tools that language models draw with, and their server by the Model Context Protocol."""
