"""Pages in a headless browser, for the fixture ``browser``."""

from __future__ import annotations

import time
from typing import Any


class Visit:
    """A page that is open, and all that went wrong or was fetched."""

    def __init__(self, browser: Any, url: str, **options: Any) -> None:
        self.context = browser.new_context(
            **{"viewport": {"width": 1200, "height": 900}, **options}
        )
        self.page = self.context.new_page()
        self.trouble: list[str] = []
        self.fetched: list[str] = []
        self.page.on("console", lambda message: self.trouble.append(message.text))
        self.page.on("pageerror", lambda error: self.trouble.append(str(error)))
        self.page.on("dialog", lambda dialog: self.trouble.append(dialog.message))
        self.page.on("request", lambda request: self.fetched.append(request.url))
        self.page.goto(url)

    def close(self) -> None:
        self.context.close()
        assert self.trouble == []

    def until(self, expression: str, seconds: float = 60) -> None:
        """Wait until an expression is true; Playwright's own way needs eval, which pages forbid."""
        end = time.monotonic() + seconds
        while not self.page.evaluate(f"Boolean({expression})"):
            assert time.monotonic() < end, f"{expression} is not true after {seconds} s"
            time.sleep(0.02)

    def place(self, kind: str, column: int, row: int) -> list[float]:
        """Where the middle of a pixel is in the window, after scrolling there."""
        return self.page.evaluate(
            """([kind, x, y]) => {
              const { canvas } = viewer.panels.find((panel) => panel.kind === kind);
              canvas.scrollIntoView({ block: "center" });
              const box = canvas.getBoundingClientRect(), at = viewer.place(canvas);
              const ratio = box.width / canvas.width;
              return [box.left + (at.left + (x + 0.5) * at.size) * ratio,
                box.top + (at.top + (y + 0.5) * at.size) * ratio];
            }""",
            [kind, column, row],
        )

    def point(self, kind: str, column: int, row: int) -> None:
        """Move the mouse to the middle of a pixel."""
        self.page.mouse.move(*self.place(kind, column, row))

    def unpacked(self, place: str) -> list[int]:
        """Samples of a decoded image or map of the viewer."""
        return self.page.evaluate(f"[...viewer.decoded.{place}.data]")
