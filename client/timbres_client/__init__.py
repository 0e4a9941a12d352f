"""Python client of the Timbres API: stamps, contracts and reports of a company's PACs."""

from timbres_client.client import Client
from timbres_client.connection import ConfigurationError, Connection
from timbres_client.errors import (
    AccessError,
    ConflictError,
    ContractRejectedError,
    ContractUndecidedError,
    InputError,
    NotFoundError,
    PacFailedError,
    TimbresError,
    TransientError,
)

__version__ = "0.5.0"
__all__ = [
    "AccessError",
    "Client",
    "ConfigurationError",
    "ConflictError",
    "Connection",
    "ContractRejectedError",
    "ContractUndecidedError",
    "InputError",
    "NotFoundError",
    "PacFailedError",
    "TimbresError",
    "TransientError",
]
