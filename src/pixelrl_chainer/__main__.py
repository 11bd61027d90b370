"""``python -m pixelrl_chainer``."""

from .cli import main

main()
