"""Errors that a user can cause and mend."""


class UserError(Exception):
    """Wrong use or unusable input.

    The text names the file or field, says what was found and what was expected, and how to mend it. Programs print it
    as one line without a traceback and exit with code 2.
    """
