"""Pure functions from recorded signals to responses."""
