"""Mail: what a person reads in Spanish of what happened, and what they can do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from timbres.domain.account import ALL
from timbres.domain.month import read_month

# SNS takes less than 100 characters of ASCII as a subject, and 256 KB of text.
_MOST_SUBJECT = 99
_MOST_LINES = 60

Detail = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Links:
    """Where people open ready reports.

    ``to`` gives a new address for a report, as an event tells of it, good for ``days``.
    """

    to: Callable[[Detail], str]
    days: int


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail. ``subject`` is ASCII, as SNS requires, 99 characters at most."""

    subject: str
    text: str


def is_told(kind: str, detail: Detail) -> bool:
    """Tell whether an event is worth a mail of its own."""
    if kind == "Stamps Counted":
        # Rejected credentials have a mail of their own.
        failed = detail["failed"].keys() - {"pac-credentials-rejected"}
        nobody = not detail["done"] and (failed or detail.get("problems"))
        return bool(detail["issuers"] or nobody)
    if kind in ("Report Ready", "Report Failed"):
        # The mail of the monthly run tells of all of its reports.
        return detail.get("run") is None
    return True


def compose(kind: str, detail: Detail, links: Links) -> Mail:
    """Return the mail that tells of an event of ``kind``; one link is asked for a ready report.

    Raises KeyError for an event that is none of Timbres'.
    """
    subject, *paragraphs = _WRITERS[kind](detail, links)
    text = "\n\n".join(paragraphs)
    return Mail(f"Timbres: {_ascii(subject)}"[:_MOST_SUBJECT], f"{text}\n\n-- \nTimbres\n")


def key(kind: str, detail: Detail) -> str:
    """Return what an event tells of, the same each time that it is told."""
    what = detail["at"] if kind == "Credentials Rejected" else detail["id"]
    if _is_supplement(detail):
        # Of the same run as the event before it.
        what = f"{what}#{detail['number']}"
    return f"{kind}#{detail.get('account', '')}#{what}"


def _stamps_counted(detail: Detail, _: Links) -> list[str]:
    issuers = detail["issuers"]
    if not issuers:
        return _nobody_counted(detail)
    none, few = detail["exhausted"], detail["low"]
    one = none + few == 1
    found = _found(none, few)
    subject = found
    if one:
        subject = f"{issuers[0]['rfc']} {'sin' if none else 'con pocos'} timbres"
        subject += f", cuenta {issuers[0]['account']}"
    paragraphs = [f"En el conteo del {_day(detail['day'])} hay {found}."]
    if none:
        heading = f"SIN TIMBRES ({none:,}): ya no {'puede' if none == 1 else 'pueden'} facturar."
        paragraphs.append(_group(heading, issuers, "exhausted", none))
    if few:
        paragraphs.append(_group(f"POCOS TIMBRES ({few:,}):", issuers, "low", few))
    paragraphs += [
        (
            f"Qué hacer: contrate timbres para {'este emisor' if one else 'estos emisores'} en el "
            "portal de su PAC, o pida a su equipo de sistemas que lo haga con Timbres "
            "(POST /accounts/{cuenta}/contracts)."
        ),
        (
            "De cada emisor se avisa una vez cuando le quedan pocos timbres y otra si se le "
            "acaban; los ya avisados no se repiten aquí. Después de una recarga se vuelve a avisar."
        ),
    ]
    if detail["failed"] or detail.get("problems"):
        heading = "Hubo emisores que no se pudieron contar; no se sabe cuántos timbres les quedan:"
        paragraphs.append(_not_counted(heading, detail))
    return [subject, *paragraphs]


def _nobody_counted(detail: Detail) -> list[str]:
    day = _day(detail["day"])
    heading = (
        f"En el conteo del {day} no se pudieron contar los timbres de ningún emisor; no se sabe "
        "cuántos quedan:"
    )
    return [
        f"no se pudieron contar los timbres el {day}",
        _not_counted(heading, detail),
        (
            "Qué hacer: si mañana vuelve a pasar, revise en el portal de su PAC cuántos timbres "
            "quedan y avise a quien administra Timbres."
        ),
    ]


def _found(none: int, few: int) -> str:
    if not none:
        return f"{_issuers(few)} con pocos timbres"
    return f"{_issuers(none)} sin timbres" + (f" y {few:,} con pocos" if few else "")


def _group(heading: str, issuers: list[Detail], alert: str, count: int) -> str:
    named = [one for one in issuers if one["alert"] == alert][:_MOST_LINES]
    lines = [heading, *map(_line, named)]
    if count > len(named):
        more = f"y {count - len(named):,} más" if named else _issuers(count)
        lines.append(
            f"  - {more}: la lista completa está en la API (GET /accounts/{{cuenta}}/stamps)"
        )
    return "\n".join(lines)


def _line(one: Detail) -> str:
    available = max(one["available"], 0)
    line = f"  - {one['rfc']} (cuenta {one['account']}): {_stamps(available)}"
    if one["alert"] == "low" and one["days_left"] is not None:
        reach = "alcanza" if available == 1 else "alcanzan"
        line += f", {reach} para {_days(one['days_left'])}"
    if one["burn"]:
        line += f" (usa {_a_day(one['burn'])} al día)"
    return line


def _not_counted(heading: str, detail: Detail) -> str:
    lines = [heading]
    for code, count in sorted(detail["failed"].items()):
        lines.append(f"  - {_issuers(count)}: {_reason(code, 'lo' if count == 1 else 'los')}")
    for account, code in sorted(detail.get("problems", {}).items()):
        lines.append(f"  - toda la cuenta {account}: {_reason(code, 'la')}")
    return "\n".join(lines)


def _reason(code: str, them: str) -> str:
    words = _words(code, them)
    return f"{words}; mañana se intenta de nuevo" if code in _MAY_PASS else words


def _words(code: str, them: str) -> str:
    return REASONS[code].format(los=them) if code in REASONS else f"error {code}"


def _credentials_rejected(detail: Detail, _: Links) -> list[str]:
    pac = detail["pac"]
    name = pac.get("display_name", pac["name"])
    code = f" (código {pac['code']})" if pac.get("code") else ""
    said = f" Dijo: «{pac['message'].rstrip('.')}»." if pac.get("message") else ""
    return [
        f"credenciales rechazadas, cuenta {detail['account']}",
        f"{name} rechazó las credenciales de la cuenta {detail['account']}{code}.{said}",
        (
            "Para que el PAC no bloquee la cuenta, Timbres ya no la consulta: sus timbres no se "
            "cuentan ni se pueden comprar hasta que cambie su secreto en Secrets Manager."
        ),
        (
            "Qué hacer: revise en el portal del PAC si la contraseña o la llave de API venció o "
            "está bloqueada, y guarde la nueva en el secreto de la cuenta."
        ),
    ]


def _report_ready(detail: Detail, links: Links) -> list[str]:
    return [
        f"{_kind(detail)} {detail['month']}, {_account(detail['account'])}",
        f"El {_report_of(detail)}, está listo. Ábralo aquí:",
        links.to(detail),
        _good_for("El enlace", links.days),
    ]


def _report_failed(detail: Detail, _: Links) -> list[str]:
    account, error = detail["account"], detail["error"]
    return [
        f"no se pudo hacer un reporte {detail['month']}, {_account(account)}",
        f"No se pudo hacer el {_report_of(detail)}.",
        f"La causa: {_cause(error)}",
        f"Para quien administra Timbres: {error['code']} ({error['detail']})",
        (
            "Qué hacer: cuando la causa esté resuelta, pida a quien administra Timbres que lo "
            f"haga otra vez (POST /accounts/{account}/reports)."
        ),
    ]


def _statement_differs(detail: Detail, _: Links) -> list[str]:
    lines = [
        f"El {_report_of(detail)}, no cuadra con la consulta de saldo del PAC:",
        *(f"  - {line}" for line in _differences(detail)),
    ]
    return [
        f"el estado de cuenta {detail['month']} no cuadra, {_account(detail['account'])}",
        "\n".join(lines),
        (
            "Qué hacer: pregunte al PAC cuál de las dos cifras vale antes de usarlas. El reporte "
            "es el archivo del PAC, tal como lo envió. Si el mes no ha terminado, puede ser que "
            "se hayan usado timbres entre una consulta y la otra."
        ),
    ]


def _monthly_reports(detail: Detail, links: Links) -> list[str]:
    month, reports, accounts = (
        read_month(detail["month"]).in_spanish,
        detail["reports"],
        detail["accounts_failed"],
    )
    ready = [one for one in reports if one["status"] == "ready"]
    missing = [one for one in reports if one["status"] != "ready"]
    differing = [one for one in ready if one["differences"]]
    complete = not detail["failed"] and not accounts
    supplement = _is_supplement(detail)
    first = f"Los reportes de {month} están listos."
    if supplement:
        first = f"Estos son los reportes de {month} que faltaban en un correo anterior."
        if not complete:
            first += " Algunos no se pudieron hacer: abajo se dice cuáles y por qué."
    elif not complete:
        first = f"Los reportes de {month} no están completos: abajo se dice qué falta y por qué."
    if differing:
        first += " Hay cifras que no cuadran: también están abajo."
    paragraphs = [first]
    for account, own in _by(ready, lambda one: one["account"]):
        lines = (f"  - {_name(one)}:\n    {links.to(one)}" for one in own)
        paragraphs.append("\n".join([f"{_capital(_account(account))}:", *lines]))
    if detail["ready"] + detail["failed"] > len(reports):
        paragraphs.append(
            f"Los demás reportes (listos: {detail['ready'] - len(ready):,}; sin hacer: "
            f"{detail['failed'] - len(missing):,}) no caben en este correo: están en la API "
            "(GET /accounts/{cuenta}/reports)."
        )
    if ready:
        paragraphs.append(_good_for("Cada enlace", links.days))
    if missing or accounts:
        paragraphs.append("\n".join(_not_made(missing, accounts)))
    if differing:
        paragraphs.append("\n".join(_not_agreeing(differing)))
    if not complete:
        paragraphs.append(
            "Qué hacer con lo que falta: cuando la causa esté resuelta, pida a quien administra "
            "Timbres que lo haga otra vez (POST /accounts/{cuenta}/reports)."
        )
    if differing:
        paragraphs.append(
            "Qué hacer con lo que no cuadra: pregunte al PAC cuál de las dos cifras vale antes de "
            "usarlas."
        )
    subject = f"reportes de {month}" + (" que faltaban" if supplement else "")
    return [subject + ("" if complete else ", incompletos"), *paragraphs]


def _is_supplement(detail: Detail) -> bool:
    """Return whether a run's event names what was missing in an earlier one."""
    return int(detail.get("number", 1)) > 1


def _not_made(missing: Sequence[Detail], accounts: Mapping[str, str]) -> Iterator[str]:
    yield "NO SE PUDIERON HACER:"
    for (account, cause), own in _by(missing, lambda one: (one["account"], _cause(one["error"]))):
        kinds = _by(own, _kind)
        names = (f"{kind} ({', '.join(map(_format, same))})" for kind, same in kinds)
        yield f"  - {_account(account)}: {' y '.join(names)}"
        yield f"    La causa: {cause}"
    for account, code in sorted(accounts.items()):
        yield f"  - {_account(account)}: los reportes que no aparecen en este correo"
        yield f"    La causa: {_cause({'code': code})}"


def _not_agreeing(differing: Sequence[Detail]) -> Iterator[str]:
    yield "NO CUADRAN con la consulta de saldo del PAC:"
    for one in differing:
        yield f"  - {_account(one['account'])}: {_name(one)}"
        yield from (f"    {line}" for line in _differences(one))


def _differences(detail: Detail) -> Iterator[str]:
    for name, (statement, balance) in detail["differences"].items():
        yield (
            f"{_TOTALS.get(name, name)}: {statement:,} en el estado de cuenta, "
            f"{balance:,} en el saldo"
        )


def _cause(error: Detail | None) -> str:
    if error is None:
        return "no quedó listo a tiempo; si queda listo después, llega en otro correo."
    pac, code = error.get("pac") or {}, error["code"]
    words = _OF_A_REPORT.get(code) or _words(code, "la")
    number = f" (código {pac['code']})" if pac.get("code") else ""
    if pac.get("message"):
        return f"{words}. El PAC dijo: «{pac['message'].rstrip('.')}»{number}."
    return f"{words}{number}."


def _contract_confirmed(detail: Detail, _: Links) -> list[str]:
    stamps, one = _stamps(detail["stamps"]), detail["stamps"] == 1
    return [
        f"{stamps} {'contratado' if one else 'contratados'} para {detail['rfc']}",
        (
            f"Se {'contrató' if one else 'contrataron'} {stamps} para el emisor {detail['rfc']} "
            f"en la cuenta {detail['account']}."
        ),
        f"Contrato {detail['id']}, pedido por {detail['requested_by']}.",
    ]


def _contract_count_mismatch(detail: Detail, _: Links) -> list[str]:
    before, after = detail["contracted_before"], detail["contracted_after"]
    return [
        f"el conteo no cuadra con un contrato para {detail['rfc']}",
        (
            f"El PAC confirmó un contrato de {_stamps(detail['stamps'])} para el emisor "
            f"{detail['rfc']} en la cuenta {detail['account']}, pero su conteo de contratados "
            f"pasó de {before:,} a {after:,}; se esperaban {before + detail['stamps']:,}. "
            f"Contrato {detail['id']}."
        ),
        (
            "Qué hacer: revise en el portal del PAC los contratos de este emisor: quizá se creó "
            "dos veces, o alguien creó o venció otro al mismo tiempo. Si sobra uno, pida al PAC "
            "que lo cancele. Timbres lo da por confirmado y no contrata más por su cuenta."
        ),
    ]


def _contract_unknown(detail: Detail, _: Links) -> list[str]:
    return [
        f"compra en duda para {detail['rfc']}",
        (
            f"No se sabe si se hizo la compra de {_stamps(detail['stamps'])} para el emisor "
            f"{detail['rfc']} en la cuenta {detail['account']}: el PAC no dio una respuesta clara. "
            f"Contrato {detail['id']}."
        ),
        (
            "Qué hacer: nada por ahora, y no vuelva a comprarlos. Timbres lo averigua con el "
            "conteo del PAC y le avisa."
        ),
    ]


def _contract_needs_review(detail: Detail, _: Links) -> list[str]:
    return [
        f"revise una compra para {detail['rfc']}",
        (
            f"No se pudo averiguar si se hizo la compra de {_stamps(detail['stamps'])} para el "
            f"emisor {detail['rfc']} en la cuenta {detail['account']}. Contrato {detail['id']}."
        ),
        (
            "Qué hacer: busque la compra en el portal del PAC y registre el resultado en la API "
            f"(POST /accounts/{detail['account']}/contracts/{detail['id']}/settlement). Mientras "
            "tanto no se pueden comprar más timbres para este emisor."
        ),
    ]


def _contract_rejected(detail: Detail, _: Links) -> list[str]:
    return [
        f"compra no hecha para {detail['rfc']}",
        (
            f"La compra de {_stamps(detail['stamps'])} para el emisor {detail['rfc']} en la cuenta "
            f"{detail['account']}, que estaba en duda, no se hizo. Contrato {detail['id']}."
        ),
        (
            "Qué hacer: si los timbres todavía se necesitan, vuelva a pedirlos con otra clave "
            "(Idempotency-Key)."
        ),
    ]


_WRITERS: dict[str, Callable[[Detail, Links], list[str]]] = {
    "Stamps Counted": _stamps_counted,
    "Credentials Rejected": _credentials_rejected,
    "Report Ready": _report_ready,
    "Report Failed": _report_failed,
    "Monthly Reports": _monthly_reports,
    "Statement Differs": _statement_differs,
    "Contract Confirmed": _contract_confirmed,
    "Contract Count Mismatch Detected": _contract_count_mismatch,
    "Contract Unknown": _contract_unknown,
    "Contract Needs Review": _contract_needs_review,
    "Contract Rejected": _contract_rejected,
}
MAILED = tuple(_WRITERS)

# {los} stands for the issuers.
REASONS = {
    "account-credentials-on-trial": "otra consulta probaba las credenciales nuevas de la cuenta",
    "account-misconfigured": "el secreto de la cuenta tiene un dato incorrecto",
    "account-stamps-exhausted": "el PAC dice que se acabaron los timbres de la cuenta",
    "account-unknown": "la cuenta ya no tiene secreto",
    "contract-duplicate": "el PAC respondió como si fuera una compra",
    "environment-mismatch": "la cuenta es del otro ambiente del PAC (pruebas o producción)",
    "format-unsupported": "el PAC no ofrece el formato",
    "internal-error": "falló Timbres, y su bitácora dice por qué",
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
    "storage-unavailable": "un servicio de AWS no respondió",
    "transaction-limit-exceeded": "el PAC dice que se rebasó su límite por transacción",
}
_MAY_PASS = frozenset(
    {
        "account-credentials-on-trial",
        "internal-error",
        "not-reached",
        "out-of-time",
        "pac-error",
        "pac-timeout",
        "pac-unavailable",
        "pac-unreachable",
        "storage-unavailable",
    }
)
_REPORTS = {"statement": "estado de cuenta", "consumption": "reporte de consumo"}
_FORMATS = {"csv": "CSV", "xlsx": "Excel", "pdf": "PDF", "html": "página web"}
# Where what is said of issuers does not fit.
_OF_A_REPORT = {
    "issuer-not-registered": "el PAC no tiene registrado el RFC",
    "operation-unsupported": "el PAC de la cuenta no ofrece este reporte",
    "pac-credentials-rejected": "el PAC no acepta las credenciales de la cuenta",
    "pac-rejected-request": "el PAC no aceptó la petición",
}
# As the PAC's own file calls them, as far as it does.
_TOTALS = {
    "registered": "RFC registrados",
    "authorized": "RFC autorizados",
    "stamping": "RFC que generaron timbres",
    "transactions": "consumo de todos los RFC",
    "amount": "suma de los movimientos",
    "movements": "número de movimientos",
}


def _issuers(count: int) -> str:
    return "1 emisor" if count == 1 else f"{count:,} emisores"


def _stamps(count: int) -> str:
    return "1 timbre" if count == 1 else f"{count:,} timbres"


def _days(days: float) -> str:
    if days < 1:
        return "menos de un día"
    whole = int(days)
    return "1 día" if whole == 1 else f"{whole:,} días"


def _a_day(burn: float) -> str:
    return "menos de 1" if burn < 1 else f"cerca de {burn:,.0f}"


def _kind(detail: Detail) -> str:
    return _REPORTS.get(detail["kind"], f"reporte {detail['kind']}")


def _format(detail: Detail) -> str:
    return _FORMATS.get(detail["format"], f"formato {detail['format']}")


def _name(detail: Detail) -> str:
    return f"{_kind(detail)} ({_format(detail)})"


def _report_of(detail: Detail) -> str:
    the = "" if detail["account"] == ALL else "la "
    account = _account(detail["account"])
    return f"{_name(detail)} de {read_month(detail['month']).in_spanish}, de {the}{account}"


def _account(name: str) -> str:
    return "todas las cuentas" if name == ALL else f"cuenta {name}"


def _good_for(link: str, days: int) -> str:
    return (
        f"{link} sirve {_days(days)} y abre sin contraseña: no lo comparta fuera de la empresa. "
        "Si ya no abre, pida el reporte otra vez a quien administra Timbres."
    )


def _by(reports: Sequence[Detail], key: Callable[[Detail], Any]) -> list[tuple[Any, list[Detail]]]:
    found: dict[Any, list[Detail]] = {}
    for one in reports:
        found.setdefault(key(one), []).append(one)
    return list(found.items())


def _capital(text: str) -> str:
    # str.capitalize would change the rest.
    return text[:1].upper() + text[1:]


def _day(iso: str) -> str:
    return date.fromisoformat(iso).strftime("%d/%m/%Y")


def _ascii(text: str) -> str:
    plain = text.translate(str.maketrans("áéíóúüñÁÉÍÓÚÜÑ", "aeiouunAEIOUUN"))
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in plain)
