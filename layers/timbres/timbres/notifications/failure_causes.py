"""Spanish causes for error codes, as filters of the mail templates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# {los} is the pronoun for the affected issuers.
REASONS = {
    "account-credentials-on-trial": "otra consulta probaba las credenciales nuevas de la cuenta",
    "account-misconfigured": "los datos de acceso de la cuenta tienen un error",
    "account-stamps-exhausted": "el PAC dice que se acabaron los timbres de la cuenta",
    "account-unknown": "la cuenta ya no tiene datos de acceso",
    "account-unreadable": "no se pudieron leer los datos de acceso de la cuenta",
    "contract-duplicate": "el PAC respondió como si fuera un contrato",
    "environment-mismatch": "la cuenta es del otro ambiente del PAC (pruebas o producción)",
    "format-unsupported": "el PAC no ofrece el formato",
    "internal-error": "falló el sistema, y su bitácora dice por qué",
    "issuer-not-registered": "el PAC no tiene registrado el RFC; revíselo o quíte{los} de la lista",
    "issuer-stamps-exhausted": "el PAC dice que se acabaron los timbres",
    "month-invalid": "el PAC no aceptó el mes",
    "not-reached": "no alcanzó el tiempo",
    "operation-unsupported": "el PAC de la cuenta no ofrece este conteo",
    "out-of-time": "no alcanzó el tiempo",
    "pac-credentials-rejected": "el PAC rechazó las credenciales de la cuenta",
    "pac-endpoint-not-found": "la dirección del PAC no existe",
    "pac-error": "el PAC falló",
    "pac-permission-denied": "el PAC no da permiso de consultar{los}",
    "pac-protocol-error": "el PAC respondió algo que su documentación no describe",
    "pac-rejected-request": "el PAC no {los} reconoce; revise el RFC o quíte{los} de la lista",
    "pac-timeout": "el PAC no respondió a tiempo",
    "pac-unavailable": "el PAC no estaba disponible",
    "pac-unreachable": "no hubo conexión con el PAC",
    "storage-unavailable": "un servicio interno no respondió",
    "transaction-limit-exceeded": "el PAC dice que se rebasó su límite por transacción",
}
_RETRIED_TOMORROW = {
    *("account-credentials-on-trial", "account-unreadable", "internal-error", "not-reached"),
    *("out-of-time", "pac-error", "pac-timeout", "pac-unavailable", "pac-unreachable"),
    "storage-unavailable",
}
# For a report, instead of the wording for issuers.
_REPORT_REASONS = {
    "issuer-not-registered": "el PAC no tiene registrado el RFC",
    "operation-unsupported": "el PAC de la cuenta no ofrece este reporte",
    "pac-credentials-rejected": "el PAC no acepta las credenciales de la cuenta",
    "pac-rejected-request": "el PAC no aceptó la petición",
}


def count_failure(code: str, pronoun: str) -> str:
    """Return why a daily run could not count issuers, and whether the next run retries.

    ``pronoun`` refers to the issuers: ``lo`` or ``los``, or ``la`` for an account.
    """
    reason = _reason(code, pronoun)
    return f"{reason}; mañana se intenta de nuevo" if code in _RETRIED_TOMORROW else reason


def report_failure(error: Mapping[str, Any] | None) -> str:
    """Return a sentence why a report is not ready; ``error`` is None while it is pending."""
    if error is None:
        return "no quedó listo a tiempo; si queda listo después, llega en otro correo."
    pac, code = error.get("pac") or {}, error["code"]
    reason = _REPORT_REASONS.get(code) or _reason(code, "la")
    number = f" (código {pac['code']})" if pac.get("code") else ""
    if pac.get("message"):
        return f"{reason}. El PAC dijo: «{pac['message'].rstrip('.')}»{number}."
    return f"{reason}{number}."


def _reason(code: str, pronoun: str) -> str:
    return REASONS[code].format(los=pronoun) if code in REASONS else f"error {code}"


FILTERS = {"count_failure": count_failure, "report_failure": report_failure}
