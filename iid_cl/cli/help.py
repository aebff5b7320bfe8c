"""The commands that say what there is."""

from iid_cl.config_files import shipped_configs
from iid_cl.studies.cases import shipped_studies


def configs() -> None:
    """List the shipped configurations and studies."""
    for name in shipped_configs():
        print(name)
    for name in shipped_studies():
        print(f"{name} (study)")
