"""Pictures: the palette of the actions, learning curves, states and action maps."""
