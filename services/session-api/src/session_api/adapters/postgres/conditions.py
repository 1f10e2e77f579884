"""The conditions of a WHERE clause, put together with their values."""


class Conditions:
    """Conditions joined by AND; only those that narrow are there, so that the planner sees what matters."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self.values: list[object] = []

    def add(self, text: str, *values: object) -> None:
        """Add a condition; each `{}` in its text stands for the next value."""
        self._texts.append(text.format(*(self.value(value) for value in values)))

    def value(self, value: object) -> str:
        """Add a value and return the placeholder that stands for it."""
        self.values.append(value)
        return f"${len(self.values)}"

    def __str__(self) -> str:
        return " AND ".join(self._texts) or "TRUE"
