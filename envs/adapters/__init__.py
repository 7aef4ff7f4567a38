"""Tasks made of other people's environments. None is registered by itself: call `envs.register` on the result."""
