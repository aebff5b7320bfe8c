"""The one exception that means: the user can mend this."""


class UserError(Exception):
    """Bad input: its message is one sentence naming the key or file, the value and the way out.

    The command line prints the message and exits with code 2; no traceback is shown.
    """
