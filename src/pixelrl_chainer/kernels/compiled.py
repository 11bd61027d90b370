"""How inner loops are compiled: free of the interpreter lock, and kept between processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit

# Fused multiply-add only: sums keep their order and NaN stays NaN. Division by zero gives infinity:
# to ask for it would keep a loop from being computed in vectors.
_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "fastmath": {"contract"},
    "error_model": "numpy",
}


def jit(function: Callable[..., Any]) -> Any:
    """Compile ``function`` at its first call; where no folder is writable, in every process."""
    try:
        return njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:
        return njit(**_OPTIONS)(function)


def inline(function: Callable[..., Any]) -> Any:
    """Compile ``function`` into the functions that call it."""
    return njit(inline="always", **_OPTIONS)(function)
