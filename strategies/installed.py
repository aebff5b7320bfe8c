"""Says what is missing where Avalanche is not installed; imported before all else here."""

from iid_cl.errors import UserError, need

try:
    need("avalanche", "iid_cl.strategies", "avalanche")
except UserError as error:
    raise ModuleNotFoundError(str(error), name="avalanche") from None
