"""Gateway: a function's routes, its requests read strictly, its errors answered as problems."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response
from aws_lambda_powertools.event_handler.exceptions import NotFoundError
from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEvent
from botocore.exceptions import BotoCoreError, ClientError

from timbres.deadline import Deadline
from timbres.domain.rfc import Rfc, parse_rfc
from timbres.domain.text import quote_input
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
from timbres.observability.metrics import flush, metrics

MAX_BODY_BYTES = 16 * 1024
# A Lambda's answer ends at 6 MB, as JSON within JSON: quotes and backslashes count twice.
_MAX_RESPONSE_BYTES = 6_000_000
# What is kept of the function's time to write down what happened and to answer.
TIMEOUT_MARGIN_SECONDS = 3.0

logger = Logger(service="timbres", name="timbres")

ScheduleHandler = Callable[[dict[str, Any]], dict[str, Any]]


class HttpHandler:
    """The routes of one function.

    Powertools routes; what is here reads requests strictly and answers in one way.
    """

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
        """Answer one invocation: a request of the gateway, or a start by a schedule.

        A scheduled start that fails raises, so that Lambda tries again and then keeps it.
        """
        self.deadline = Deadline(
            context.get_remaining_time_in_millis() / 1000 - TIMEOUT_MARGIN_SECONDS
        )
        try:
            return self._handle(event, context, on_schedule)
        finally:
            flush()

    def query_params(self, *names: str) -> dict[str, str | None]:
        """Return the query's parameters by name, None for each that is missing.

        Raises ``parameter-invalid`` for one that is not in ``names`` or is there twice.
        """
        parameters = self._event.resolved_query_string_parameters
        for name, values in parameters.items():
            if name not in names:
                expected = f"expected {', '.join(names)}" if names else "expected none"
                raise TimbresError(
                    PARAMETER_INVALID,
                    f"{quote_input(name)} is no parameter of this route: {expected}. "
                    "In a query, & within a value is written %26.",
                    field=_field(name),
                )
            if len(values) > 1:
                raise TimbresError(PARAMETER_INVALID, f"{name} stands there twice.", field=name)
        query = {name: next(iter(parameters.get(name, ())), None) for name in names}
        _append_log_key("rfc", query.get("rfc"))
        return query

    def json_body(self, *names: str) -> dict[str, Any]:
        """Return the members of the JSON body, each of ``names`` and no other.

        Raises ``body-too-large`` beyond 16 KB, and ``body-invalid``, which names the
        member that is missing, unknown or there twice.
        """
        raw = self._body_within(MAX_BODY_BYTES)
        expected = "expected a JSON object with " + " and ".join(names)
        try:
            # Given bytes, json would guess at UTF-16 too.
            text = raw.decode("utf-8-sig")
            value = json.loads(text, object_pairs_hook=_unique, parse_constant=_reject_constant)
        except TimbresError:
            raise
        except (ValueError, RecursionError):
            raise TimbresError(
                BODY_INVALID, f"The body is no JSON: {expected}.", field="body"
            ) from None
        if not isinstance(value, dict):
            raise TimbresError(BODY_INVALID, f"The body is no object: {expected}.", field="body")
        for name in names:
            if name not in value:
                raise TimbresError(BODY_INVALID, f"{name} is missing: {expected}.", field=name)
        for name in value:
            if name not in names:
                raise TimbresError(
                    BODY_INVALID,
                    f"{quote_input(name)} is not known: {expected}.",
                    field=_field(name),
                )
        _append_log_key("rfc", value.get("rfc"))
        return value

    def text_body(self, most_bytes: int) -> tuple[str, str]:
        """Return the body's media type in lower case, without parameters, and its text.

        Raises ``body-too-large`` beyond ``most_bytes``, ``body-invalid`` for no UTF-8.
        """
        raw = self._body_within(most_bytes)
        media_type = "".join(self._headers("Content-Type")[:1]).partition(";")[0].strip().lower()
        try:
            return media_type, raw.decode()
        except UnicodeDecodeError:
            raise TimbresError(
                BODY_INVALID,
                "The body is no UTF-8: save it as UTF-8 and send it again.",
                field="body",
            ) from None

    def idempotency_key(self) -> str:
        """Return the one Idempotency-Key header. Raises ``idempotency-key-invalid``."""
        keys = self._headers("Idempotency-Key")
        # Of two keys, neither is sure to be the one that was meant.
        key = keys[0] if len(keys) == 1 else None
        if not key or len(key) > 255 or not key.isascii() or not key.isprintable():
            raise TimbresError(
                IDEMPOTENCY_KEY_INVALID,
                "The header Idempotency-Key is missing, there twice or not right: expected 1 to "
                "255 printable ASCII characters, new for each purchase, such as a UUID.",
                field="Idempotency-Key",
            )
        return key

    def caller_arn(self) -> str:
        """Return the IAM ARN of whoever signed the request."""
        return self._event.request_context.identity.user_arn or "unknown"

    def _handle(
        self, event: dict[str, Any], context: Any, on_schedule: ScheduleHandler | None
    ) -> dict[str, Any]:
        if "httpMethod" in event:
            _append_log_key("account", (event.get("pathParameters") or {}).get("account"))
            return self._resolver.resolve(event, context)
        if on_schedule is None:
            raise ValueError("this function answers the API only")
        # A rule of EventBridge puts its input under detail; a schedule sends it bare.
        detail = event.get("detail", event)
        result = on_schedule(detail)
        logger.info("scheduled run", extra={"result": result})
        return result

    @property
    def _event(self) -> APIGatewayProxyEvent:
        return self._resolver.current_event

    def _body_within(self, most_bytes: int) -> bytes:
        raw = self._raw_body()
        if len(raw) > most_bytes:
            raise TimbresError(
                BODY_TOO_LARGE,
                f"The body has {len(raw):,} bytes; expected {most_bytes:,} at most.",
                field="body",
            )
        return raw

    def _raw_body(self) -> bytes:
        text = self._event.body or ""
        if not self._event.is_base64_encoded:
            return text.encode("utf-8", "surrogatepass")
        try:
            # Powertools' decoded_body leaves out what is no base64.
            return base64.b64decode(text, validate=True)
        except ValueError:
            raise TimbresError(BODY_INVALID, "The body is no base64.", field="body") from None

    def _headers(self, name: str) -> list[str]:
        """Return what every header of this name says, in whatever case it is written."""
        # Powertools keeps the last of two names that differ in case only.
        event = self._event.raw_event
        many: Mapping[str, list[str]] = event.get("multiValueHeaders") or {
            key: [value] for key, value in (event.get("headers") or {}).items()
        }
        return [
            str(value).strip()
            for key, values in many.items()
            if key.lower() == name.lower()
            for value in values or ()
            if value is not None
        ]

    def _on_exception(self, error: Exception) -> Response[str]:
        if isinstance(error, TimbresError):
            known = error
            level = (
                logger.error if problem.status_code(known.problem_type.code) >= 500 else logger.info
            )
            level(
                "answered %s: %s",
                known.problem_type.code,
                known.detail,
                extra={"code": known.problem_type.code, "pac_code": known.pac_code},
            )
        elif isinstance(error, BotoCoreError | ClientError):
            metrics.add_count("InternalErrors")
            logger.error("an AWS service failed: %s", describe_aws_error(error))
            known = TimbresError(
                AWS_SERVICE_UNAVAILABLE,
                "An AWS service that Timbres stands on did not answer as it should. "
                "Repeat the request; a contract with the same Idempotency-Key.",
            )
        else:
            metrics.add_count("InternalErrors")
            logger.error("unhandled exception", exc_info=error)
            known = TimbresError(INTERNAL_ERROR, "An error of Timbres' own; its log has it.")
        return self._problem_response(known)

    def _not_found(self, _error: NotFoundError) -> Response[str]:
        where = f"{self._event.http_method} {quote_input(self._event.path)}"
        return self._problem_response(TimbresError(ROUTE_NOT_FOUND, f"There is no {where}."))

    def _problem_response(self, error: TimbresError) -> Response[str]:
        context = self._resolver.lambda_context
        request_id = str(getattr(context, "aws_request_id", ""))
        headers = {}
        if error.problem_type.retry_after is not None:
            headers["Retry-After"] = str(error.problem_type.retry_after)
        return json_response(
            problem.status_code(error.problem_type.code),
            problem.problem_document(error, request_id),
            headers,
            media_type=problem.MEDIA_TYPE,
        )


def parse_query_rfc(text: str | None, parse: Callable[[object], Rfc] = parse_rfc) -> Rfc:
    """Return the RFC in a query parameter. Raises as ``parse`` does, ``rfc-invalid`` for one."""
    try:
        return parse(text)
    except TimbresError as error:
        # An & that is not encoded ends the value.
        if text is not None and len(text.strip()) < 5:
            raise error.changed(detail=f"{error.detail} In a query, & is written %26.") from None
        raise


def json_response(
    status: int,
    body: dict[str, Any],
    headers: dict[str, str] | None = None,
    media_type: str = "application/json",
) -> Response[str]:
    """Return an answer of the API: JSON, not to be kept by anyone between.

    Raises ``answer-too-large`` for what a Lambda could not hand on.
    """
    text = problem.to_json(body)
    escapes = text.count('"') + text.count("\\")
    if len(text.encode("utf-8", "surrogatepass")) + escapes > _MAX_RESPONSE_BYTES:
        raise TimbresError(
            RESPONSE_TOO_LARGE,
            "The answer would be larger than the 6 MB that AWS hands on: ask for one rfc, or "
            "for a report.",
        )
    return Response(
        status_code=status,
        content_type=media_type,
        body=text,
        headers={"Cache-Control": "no-store", **(headers or {})},
    )


def _field(name: str) -> str:
    """Return the name of an input that a caller made up, short and printable."""
    return "".join(c if c.isprintable() else "?" for c in name[:40])


def _append_log_key(name: str, value: object) -> None:
    """Let every line of this invocation say what a caller asked for, as they wrote it."""
    if isinstance(value, str) and value:
        logger.append_keys(**{name: _field(value)})


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for name, member in pairs:
        if name in value:
            raise TimbresError(
                BODY_INVALID, f"{quote_input(name)} stands in the body twice.", field=_field(name)
            )
        value[name] = member
    return value


def _reject_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


def describe_aws_error(error: BotoCoreError | ClientError) -> str:
    """Return which call to AWS failed and how, without what was in it."""
    if isinstance(error, ClientError):
        return f"{error.operation_name} {error.response.get('Error', {}).get('Code')}"
    return type(error).__name__
