"""The one exception type whose message is meant for the person at the keyboard."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can mend: the CLI prints it as one line and exits with code 1.

    The message names the file, the field, the value and the mend wherever they exist, for example
    ``model_cards/foo.yaml: sampling.top_p: 1.5 is not in (0, 1]``.
    """

    def __init__(self, message: str):
        super().__init__(" ".join(message.split()))
