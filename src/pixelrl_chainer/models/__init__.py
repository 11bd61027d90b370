"""The network: blocks, the actor-critic and reward map convolution."""
