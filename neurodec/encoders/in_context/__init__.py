"""The in-context networks: from pictures and answers to the encoder of a voxel, and from encoders to a picture."""
