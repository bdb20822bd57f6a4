"""What the `ktx-daemon` supervisor runs inside a Python environment."""
