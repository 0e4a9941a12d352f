"""HTTP adapter: routes, strict parsing of requests, errors as problem details."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response
from aws_lambda_powertools.event_handler.exceptions import NotFoundError
from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEvent
from botocore.exceptions import BotoCoreError, ClientError

from timbres.deadline import Deadline
from timbres.domain.rfc import Rfc, parse_rfc
from timbres.domain.text import charset_of, invalid_value, quote_input
from timbres.errors import (
    AWS_SERVICE_UNAVAILABLE,
    BODY_INVALID,
    BODY_TOO_LARGE,
    IDEMPOTENCY_KEY_INVALID,
    INTERNAL_ERROR,
    PARAMETER_INVALID,
    RESPONSE_TOO_LARGE,
    ROUTE_NOT_FOUND,
    TimbresError,
)
from timbres.handlers import problem_details as problem
from timbres.handlers.invocation import describe_aws_error, invocation_deadline, logger
from timbres.observability.metrics import metrics

MAX_BODY_BYTES = 16 * 1024
# Lambda limits a response to 6 MB, as JSON within JSON: quotes and backslashes count twice.
MAX_RESPONSE_BYTES = 6_000_000

# A parameter in the path of a resource, such as {account}.
_PATH_PARAMETER = re.compile(r"\{(\w+)\}")

ScheduleHandler = Callable[[dict[str, Any]], dict[str, Any]]


class HttpHandler:
    """The routes of one function: a Powertools resolver with strict parsing of requests."""

    def __init__(self) -> None:
        self._resolver = APIGatewayRestResolver(strip_prefixes=[])
        self._resolver.not_found(self._not_found)
        self._resolver.exception_handler(Exception)(self._on_exception)
        self.get = self._resolver.get
        self.post = self._resolver.post
        self.put = self._resolver.put
        self.delete = self._resolver.delete
        self.deadline = Deadline(0)

    def handle(
        self, event: dict[str, Any], context: Any, on_schedule: ScheduleHandler | None = None
    ) -> dict[str, Any]:
        """Handle one invocation: a request of API Gateway, or a schedule.

        Raises the error of a schedule, so that Lambda retries it.
        """
        self.deadline = invocation_deadline(context)
        try:
            if "httpMethod" in event:
                _append_log_key("account", (event.get("pathParameters") or {}).get("account"))
                return self._resolver.resolve(without_base_path(event), context)
            if on_schedule is None:
                raise ValueError("this function has no schedule")
            # An EventBridge rule puts its input under detail; a schedule sends it as the event.
            result = on_schedule(event.get("detail", event))
            logger.info("scheduled run", extra={"result": result})
            return result
        finally:
            metrics.flush()

    def query_params(self, *names: str) -> dict[str, str | None]:
        """Return the query parameters by name, None for each that is missing.

        Raises ``parameter-invalid`` for an unknown or duplicate parameter.
        """
        parameters = self._event.resolved_query_string_parameters
        self._reject_unknown(*names)
        for name, values in parameters.items():
            if len(values) > 1:
                raise TimbresError(PARAMETER_INVALID, f"Duplicate parameter: {name}.", field=name)
        query = {name: next(iter(parameters.get(name, ())), None) for name in names}
        _append_log_key("rfc", query.get("rfc"))
        return query

    def query_values(self, name: str) -> list[str]:
        """Return the values of the only query parameter. Raises ``parameter-invalid``."""
        values = self._event.resolved_query_string_parameters.get(name, [])
        if len(values) < 2:
            self.query_params(name)
        self._reject_unknown(name)
        return list(values)

    def _reject_unknown(self, *names: str) -> None:
        for name in self._event.resolved_query_string_parameters:
            if name not in names:
                expected = f"expected {', '.join(names)}" if names else "expected none"
                detail = f"Unknown parameter: {quote_input(name)}; {expected}. "
                detail += "Encode & in a value as %26."
                raise TimbresError(PARAMETER_INVALID, detail, field=_field(name))

    def page_limit(self, text: str | None, maximum: int) -> int:
        """Return the number of items of a page, by default ``maximum``.

        Raises ``parameter-invalid``.
        """
        if text is None:
            return maximum
        if not re.fullmatch("[0-9]{1,4}", text) or not 1 <= int(text) <= maximum:
            expected = f"1 to {maximum}"
            raise invalid_value(PARAMETER_INVALID, text, "a valid limit", expected, "limit")
        return int(text)

    def json_body(self, *names: str, optional: tuple[str, ...] = ()) -> dict[str, Any]:
        """Return the members of the JSON body: those in ``names``, and of ``optional``.

        Raises ``body-too-large`` above 16 KB, and ``body-invalid``, which names the missing,
        unknown or duplicate member.
        """
        raw = self._body_within(MAX_BODY_BYTES)
        expected = "expected a JSON object with " + " and ".join(names)
        expected += f", optionally {', '.join(optional)}" if optional else ""
        try:
            # From bytes, json would also accept UTF-16.
            text = raw.decode("utf-8-sig")
            value = json.loads(text, object_pairs_hook=_unique, parse_constant=_reject_constant)
        except TimbresError:
            raise
        except (ValueError, RecursionError):
            raise _body_error(f"The body is not valid JSON: {expected}.") from None
        if not isinstance(value, dict):
            raise _body_error(f"The body is not a JSON object: {expected}.")
        for name in names:
            if name not in value:
                raise _body_error(f"{name} is missing: {expected}.", name)
        for name in value:
            if name not in (*names, *optional):
                raise _body_error(f"{quote_input(name)} is not known: {expected}.", name)
        _append_log_key("rfc", value.get("rfc"))
        return value

    def text_body(self, max_bytes: int) -> tuple[str, str]:
        """Return the body's media type in lower case, without parameters, and its text.

        Its charset is that of its byte order mark, else the declared one, else UTF-8. Raises
        ``body-too-large`` above ``max_bytes``, ``body-invalid`` if it has another charset.
        """
        raw = self._body_within(max_bytes)
        content_type = "".join(self._headers("Content-Type")[:1])
        media_type = content_type.partition(";")[0].strip().lower()
        charset = charset_of(raw, content_type) or "utf-8"
        try:
            return media_type, raw.decode(charset)
        except UnicodeDecodeError:
            raise _body_error(
                f"The body is not valid {charset.upper()}: save it as UTF-8 and send it again."
            ) from None

    def idempotency_key(self) -> str:
        """Return the Idempotency-Key header. Raises ``idempotency-key-invalid``."""
        keys = self._headers("Idempotency-Key")
        # With two keys, it is not clear which one the caller means.
        key = keys[0] if len(keys) == 1 else None
        if not key or len(key) > 255 or not key.isascii() or not key.isprintable():
            raise TimbresError(
                IDEMPOTENCY_KEY_INVALID,
                "The header Idempotency-Key is missing, duplicate or invalid: expected 1 to 255 "
                "printable ASCII characters, new for each contract, for example a UUID.",
                field="Idempotency-Key",
            )
        return key

    def location(self, name: str, item: str) -> str:
        """Return the address of an item of the requested collection ``name``.

        It is absolute if API Gateway names its domain, otherwise relative to the request.
        """
        context = self._event.raw_event["requestContext"]
        if domain := context.get("domainName"):
            return f"https://{domain}{context['path'].rstrip('/')}/{item}"
        return f"{name}/{item}"

    def caller_arn(self) -> str:
        """Return the IAM ARN of the caller that signed the request."""
        return self._event.request_context.identity.user_arn or "unknown"

    @property
    def _event(self) -> APIGatewayProxyEvent:
        return self._resolver.current_event

    def _body_within(self, max_bytes: int) -> bytes:
        text = self._event.body or ""
        raw = text.encode("utf-8", "surrogatepass")
        if self._event.is_base64_encoded:
            try:
                # Powertools' decoded_body ignores invalid characters.
                raw = base64.b64decode(text, validate=True)
            except ValueError:
                raise _body_error("The body is not valid base64.") from None
        if len(raw) > max_bytes:
            detail = f"The body has {len(raw):,} bytes; expected {max_bytes:,} at most."
            raise TimbresError(BODY_TOO_LARGE, detail, field="body")
        return raw

    def _headers(self, name: str) -> list[str]:
        """Return the values of every header with this name, in any case."""
        # Powertools returns the last of two names that differ in case only.
        event = self._event.raw_event
        headers: Mapping[str, list[str]] = event.get("multiValueHeaders") or {
            key: [value] for key, value in (event.get("headers") or {}).items()
        }
        found = (values or () for key, values in headers.items() if key.lower() == name.lower())
        return [str(value).strip() for values in found for value in values if value is not None]

    def _on_exception(self, error: Exception) -> Response[str]:
        if isinstance(error, TimbresError):
            code = error.problem_type.code
            log = logger.error if problem.status_code(code) >= 500 else logger.info
            extra = {"code": code, "pac_code": error.pac_code}
            log("request failed: %s: %s", code, error.detail, extra=extra)
            return self._problem_response(error)
        metrics.add_count("InternalErrors")
        if isinstance(error, BotoCoreError | ClientError):
            logger.error("an AWS service failed: %s", describe_aws_error(error))
            detail = "A dependency is unavailable. Repeat the request; for a contract, with the "
            detail += "same Idempotency-Key."
            return self._problem_response(TimbresError(AWS_SERVICE_UNAVAILABLE, detail))
        logger.error("unhandled exception", exc_info=error)
        detail = "An unexpected error occurred; the log has its details."
        return self._problem_response(TimbresError(INTERNAL_ERROR, detail))

    def _not_found(self, _error: NotFoundError) -> Response[str]:
        route = f"{self._event.http_method} {quote_input(self._event.path)}"
        return self._problem_response(TimbresError(ROUTE_NOT_FOUND, f"Route not found: {route}."))

    def _problem_response(self, error: TimbresError) -> Response[str]:
        request_id = str(getattr(self._resolver.lambda_context, "aws_request_id", ""))
        wait = error.retry_after
        return json_response(
            problem.status_code(error.problem_type.code),
            problem.problem_document(error, request_id),
            {} if wait is None else {"Retry-After": str(wait)},
            media_type=problem.MEDIA_TYPE,
        )


def without_base_path(event: dict[str, Any]) -> dict[str, Any]:
    """Return the request of a custom domain with its path below the domain's base path.

    The path of the resource that the gateway has authorized is used, never another part of the
    caller's path. A path that does not end with it is returned unchanged.
    """
    parameters = event.get("pathParameters") or {}
    path = _PATH_PARAMETER.sub(
        lambda match: parameters.get(match[1], match[0]), event.get("resource") or ""
    )
    if path and path != event["path"] and event["path"].endswith(path):
        return {**event, "path": path}
    return event


def parse_query_rfc(text: str | None, parse: Callable[[object], Rfc] = parse_rfc) -> Rfc:
    """Return the RFC in a query parameter. Raises what ``parse`` raises, e.g. ``rfc-invalid``."""
    try:
        return parse(text)
    except TimbresError as error:
        # A short value often ends at an & that is not encoded.
        if text is not None and len(text.strip()) < 5:
            raise error.changed(detail=f"{error.detail} Encode & in a query as %26.") from None
        raise


def json_response(
    status: int,
    body: dict[str, Any],
    headers: dict[str, str] | None = None,
    media_type: str = "application/json",
) -> Response[str]:
    """Return a JSON response that must not be cached.

    Raises ``answer-too-large`` above the limit of Lambda.
    """
    text = problem.to_json(body)
    escapes = text.count('"') + text.count("\\")
    if len(text.encode("utf-8", "surrogatepass")) + escapes > MAX_RESPONSE_BYTES:
        raise TimbresError(
            RESPONSE_TOO_LARGE,
            "The response is larger than 6 MB, the limit of AWS Lambda: request one rfc, or a "
            "report.",
        )
    return Response(
        status_code=status,
        content_type=media_type,
        body=text,
        headers={"Cache-Control": "no-store", **(headers or {})},
    )


def _body_error(detail: str, member: str = "body") -> TimbresError:
    return TimbresError(BODY_INVALID, detail, field=_field(member))


def _field(name: str) -> str:
    """Return a caller's text, shortened and made printable."""
    return "".join(c if c.isprintable() else "?" for c in name[:40])


def _append_log_key(name: str, value: object) -> None:
    """Add a caller's input to every log record of this invocation."""
    if isinstance(value, str) and value:
        logger.append_keys(**{name: _field(value)})


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for name, member in pairs:
        if name in value:
            raise _body_error(f"Duplicate member: {quote_input(name)}.", name)
        value[name] = member
    return value


def _reject_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not valid JSON")
