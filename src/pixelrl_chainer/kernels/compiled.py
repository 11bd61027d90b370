"""How inner loops are compiled: free of the interpreter lock, and kept between processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit

# Division by zero gives infinity: to ask for it would keep a loop from being computed in vectors.
_EXACT: dict[str, Any] = {"nogil": True, "error_model": "numpy"}

# Fused multiply-add only: sums keep their order and NaN stays NaN.
_OPTIONS: dict[str, Any] = {**_EXACT, "fastmath": {"contract"}}


def jit(function: Callable[..., Any]) -> Any:
    """Compile ``function`` at its first call; where no folder is writable, in every process."""
    return _compile(function, _OPTIONS)


def exact(function: Callable[..., Any]) -> Any:
    """Compile as :func:`jit`, but round every product as NumPy does: no fused multiply-add."""
    return _compile(function, _EXACT)


def inline(function: Callable[..., Any]) -> Any:
    """Compile ``function`` into the functions that call it, with their options."""
    return njit(inline="always", **_OPTIONS)(function)


def _compile(function: Callable[..., Any], options: dict[str, Any]) -> Any:
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:
        return njit(**options)(function)
