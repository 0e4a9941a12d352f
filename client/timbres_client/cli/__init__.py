"""The command `timbres`; each module adds its commands to ``app``."""

from timbres_client.cli import accounts, contracts, reports, stamps  # noqa: F401 they register
from timbres_client.cli.tool import app


def main() -> None:
    """Run the command."""
    app(prog_name="timbres")
