"""Several named sessions that grew out of one, of which one is worked on."""

from collections.abc import Iterator

from anchoredit_jax.errors import UserError
from anchoredit_jax.session.edit_session import EditSession

MAIN = "main"
_LONGEST_NAME = 40


class Branches:
    """One person's branches; the first one is called "main".

    Attributes:
      current: name of the branch that is worked on.
    """

    def __init__(self, session: EditSession):
        self._sessions = {MAIN: session}
        self.current = MAIN

    @property
    def session(self) -> EditSession:
        """The session of the current branch."""
        return self._sessions[self.current]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all branches, in the order in which they were made."""
        return tuple(self._sessions)

    def __iter__(self) -> Iterator[tuple[str, EditSession]]:
        return iter(self._sessions.items())

    def branch(self, name: str) -> EditSession:
        """Go on under a new name; the current branch stays as it is.

        Raises:
          UserError: as `add`.
        """
        return self.add(name, self.session.branch())

    def add(self, name: str, session: EditSession) -> EditSession:
        """Go on with `session` as a branch of this name.

        Raises:
          UserError: a name that is taken or cannot be a folder's.
        """
        if not _is_name(name):
            raise UserError(
                f"a branch's name has 1 to {_LONGEST_NAME} letters, digits, '-' or "
                f"'_', given {name!r}"
            )
        taken = {known.lower(): known for known in self._sessions}  # as folders may be
        if name.lower() in taken:
            raise UserError(
                f"there is a branch {taken[name.lower()]!r} already: choose another "
                "name, or switch to it"
            )
        self._sessions[name] = session
        self.current = name
        return session

    def switch(self, name: str) -> EditSession:
        """Go on with another branch.

        Raises:
          UserError: no such branch.
        """
        if name not in self._sessions:
            raise UserError(
                f"there is no branch {name!r}; branches: {', '.join(self._sessions)}"
            )
        self.current = name
        return self.session

    def free_name(self) -> str:
        """A name that no branch has yet: "branch-2", "branch-3", .."""
        taken = {name.lower() for name in self._sessions}
        number = 2
        while f"branch-{number}" in taken:
            number += 1
        return f"branch-{number}"


def _is_name(name: str) -> bool:
    letters = name.replace("-", "").replace("_", "")
    return letters.isalnum() and len(name) <= _LONGEST_NAME
