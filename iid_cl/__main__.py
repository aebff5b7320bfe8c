"""``python -m iid_cl`` is the command ``iid-cl``."""

from iid_cl.cli import main

main()
