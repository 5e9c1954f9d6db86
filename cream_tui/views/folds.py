"""Which heads of the list of runs are folded: groups, studies, arms.

Pure: keys of rows in, whether they are folded out.
"""

from __future__ import annotations

_GROUP, _STUDY = "group ", "study "  # how keys of heads begin


class Folds:
    """Groups are unfolded until a person folds them; studies and arms the other way round.

    Attributes:
        is_filtered: While a filter is in force, studies and arms are unfolded too, so that what it finds is seen; a
            person's folds without a filter are kept apart.
    """

    def __init__(self) -> None:
        self.is_filtered = False
        self._toggled: set[str] = set()

    def is_folded(self, key: str) -> bool:
        """Whether the head of this key is folded."""
        is_open = self.is_filtered or key.startswith(_GROUP)
        return is_open == (self._name(key) in self._toggled)

    def toggle(self, key: str) -> None:
        """Fold it, or unfold it."""
        self._toggled ^= {self._name(key)}

    def unfold(self, key: str) -> None:
        """Unfold it."""
        if self.is_folded(key):
            self.toggle(key)

    def forget_groups(self) -> None:
        """Unfold all groups."""
        self._toggled = {key for key in self._toggled if not key.startswith(_GROUP)}

    def save(self) -> list[str]:
        """The keys of unfolded studies."""
        return sorted(key for key in self._toggled if key.startswith(_STUDY))

    def restore(self, keys: object) -> None:
        """Take up what was saved; what is no list of keys is left out."""
        if isinstance(keys, list):
            self._toggled |= {key for key in keys if isinstance(key, str) and key.startswith(_STUDY)}

    def _name(self, key: str) -> str:
        return f"found {key}" if self.is_filtered and not key.startswith(_GROUP) else key
