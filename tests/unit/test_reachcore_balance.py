"""Reachcore's balance as a stream: documented responses are read exactly, others are rejected."""

from __future__ import annotations

import io
import json
import sys
from collections import Counter
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.pac_servers import memory_below

from timbres.deadline import Deadline
from timbres.domain.balance import IssuerCounts, Movement, Summary, is_consumption, sum_movements
from timbres.errors import PacError, TimbresError
from timbres.pacs.http import HttpResponse
from timbres.pacs.reachcore.client import ReachcoreBalance
from timbres.pacs.reachcore.limits import MAX_KINDS, DistinctValues
from timbres.services.balances import sum_and_take_first

MIB = 1024 * 1024
BOM = b"\xef\xbb\xbf"
# The sample of the documentation, which lacks the comma after FechaActual.
DOCUMENTED = """{
  "TipoConsumo" : "Postpago",
  "FechaActual" : "2019-11-19T13:53:41"
  "Registrados" : 0,
  "Autorizados" : 0,
  "GeneraronTimbre" : 0,
  "Transacciones" : 2,
  "Detalle" : [
    {
      "RFC" : "A&D061009TY8",
      "Fecha" : "2019-11-02T00:00:00",
      "TipoMovimiento" : "Consumo de timbre",
      "Monto" : 1
    },
    {
      "RFC" : "AAA010101AAA",
      "Fecha" : "2019-11-03T00:00:00",
      "TipoMovimiento" : "Consumo de timbre",
      "Monto" : 1
    }
  ]
}"""
MOVEMENT = {
    "RFC": "A&D061009TY8",
    "Fecha": "2019-11-02T00:00:00",
    "TipoMovimiento": "Consumo de timbre",
    "Monto": 1,
}
RESPONSE: dict[str, Any] = {
    "TipoConsumo": "Postpago",
    "FechaActual": "2019-11-19T13:53:41",
    "Registrados": 4,
    "Autorizados": 3,
    "GeneraronTimbre": 2,
    "Transacciones": 5,
    "Detalle": [MOVEMENT],
}
SUMMARY_FIELDS = [name for name in RESPONSE if name != "Detalle"]
DETAIL_FIRST = {"Detalle": RESPONSE["Detalle"]} | RESPONSE


def reading(content: bytes | str | io.BytesIO, **options: Any) -> ReachcoreBalance:
    content = content.encode() if isinstance(content, str) else content
    file = io.BytesIO(content) if isinstance(content, bytes) else content
    size = file.seek(0, io.SEEK_END)
    return ReachcoreBalance(HttpResponse(file, 200, "application/json", size, ""), **options)


def read(content: bytes | str) -> tuple[Summary, list[Movement]]:
    with reading(content) as month:
        return month.summary, list(month.movements())


def expect_rejection(content: bytes | str, *says: str) -> None:
    """Check that the error contains one of these texts, if any."""
    with pytest.raises(PacError) as caught:
        read(content)
    error = caught.value
    assert (error.pac, error.problem_type.code) == ("reachcore", "pac-protocol-error")
    assert error.problem_type.may_have_taken_effect
    assert len(error.detail) < 300
    assert not says or any(text in error.detail for text in says), error.detail


def balance_json(fields: dict[str, Any] = RESPONSE, **changes: Any) -> str:
    return json.dumps({**fields, **changes}, ensure_ascii=False)


def with_movement(**changes: Any) -> str:
    return balance_json(Detalle=[MOVEMENT, {**MOVEMENT, **changes}])


def without(fields: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key != name}


def twice(fields: dict[str, Any], name: str) -> str:
    return f'{json.dumps(fields)[:-1]}, "{name}": {json.dumps(fields[name])}}}'


# ------------------------------------------------------------------- documented responses


@pytest.mark.parametrize("line_end", ["\n", "\r\n", ""])
@pytest.mark.parametrize("bom", [b"", BOM])
@pytest.mark.parametrize("comma", ["", ",", " ,"])
def test_the_documented_sample_is_read_with_and_without_its_comma(
    comma: str, bom: bytes, line_end: str
) -> None:
    text = DOCUMENTED.replace(':41"', f':41"{comma}').replace("\n", line_end)

    summary, movements = read(bom + text.encode())

    assert (summary.plan, summary.transactions) == ("postpaid", 2)
    assert summary.as_of.isoformat() == "2019-11-19T13:53:41-06:00"
    assert summary.issuers == IssuerCounts(0, 0, 0)
    assert movements == [
        Movement("A&D061009TY8", date(2019, 11, 2), "Consumo de timbre", 1),
        Movement("AAA010101AAA", date(2019, 11, 3), "Consumo de timbre", 1),
    ]


def test_only_that_comma_may_be_missing() -> None:
    for mark in ('"Postpago",', '"Registrados" : 0,', '"A&D061009TY8",', "},"):
        expect_rejection(DOCUMENTED.replace(mark, mark[:-1], 1), "not valid JSON")
    doubled = DOCUMENTED.replace(':41"', ':41",').replace("T13:53:41", '"\n"FechaActual": "2019')
    expect_rejection(doubled)


@pytest.mark.parametrize(
    ("word", "plan"), [("Prepago", "prepaid"), ("Mixto", "Mixto"), ("PREPAGO", "PREPAGO")]
)
def test_an_unknown_plan_is_unchanged(word: str, plan: str) -> None:
    assert read(balance_json(TipoConsumo=word))[0].plan == plan


def test_movements_can_be_read_twice_until_the_exit_closes_the_file() -> None:
    file = io.BytesIO(DOCUMENTED.encode())
    with reading(file) as month:
        first = next(month.movements())
        assert [first, *list(month.movements())[1:]] == list(month.movements())
    assert file.closed


texts = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12
).filter(lambda text: text.strip())
extras = st.dictionaries(
    texts.filter(lambda name: name not in {*RESPONSE, *MOVEMENT}),
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=2),
        max_leaves=4,
    ),
    max_size=2,
)
movement_lists = st.lists(
    st.fixed_dictionaries(
        {
            "RFC": st.sampled_from(["A&D061009TY8", "ÑAN840101AB1", "AAA010101AAA "])
            | texts.filter(lambda text: text.strip().isprintable()),
            "Fecha": st.dates(date(2011, 1, 1)).map(lambda day: f"{day}T00:00:00"),
            "TipoMovimiento": st.just(" Consumo de timbre ") | texts,
            "Monto": st.integers(-(10**6), 10**9),
        }
    ),
    max_size=8,
)


@settings(max_examples=60)
@given(st.data(), movement_lists, st.lists(st.integers(0, 10**9), min_size=4, max_size=4))
def test_totals_and_movements_survive_a_round_trip(
    data: st.DataObject, movements: list[dict[str, Any]], counts: list[int]
) -> None:
    def shuffle(fields: dict[str, Any]) -> dict[str, Any]:
        """Return the fields in any order, with further fields."""
        return dict(data.draw(st.permutations([*{**fields, **data.draw(extras)}.items()])))

    response = RESPONSE | dict(zip(SUMMARY_FIELDS[2:], counts, strict=True))
    response["Detalle"] = [shuffle(movement) for movement in movements]
    text = json.dumps(
        shuffle(response),
        ensure_ascii=data.draw(st.booleans()),
        indent=data.draw(st.sampled_from([None, 0, 2])),
    )

    summary, lines = read((BOM if data.draw(st.booleans()) else b"") + text.encode())

    issuers = summary.issuers
    totals = (issuers.registered, issuers.authorized, issuers.active, summary.transactions)
    assert totals == tuple(counts)
    assert [(line.rfc, f"{line.date}T00:00:00", line.kind, line.amount) for line in lines] == [
        (row["RFC"].strip(), row["Fecha"], row["TipoMovimiento"].strip(), row["Monto"])
        for row in movements
    ]
    by_issuer: Counter[str] = Counter()
    for row in movements:
        if is_consumption(row["TipoMovimiento"]):
            by_issuer[row["RFC"].strip()] += row["Monto"]
    assert sum_movements(lines).by_issuer == dict(by_issuer)


# --------------------------------------------------------------------- invalid responses

INVALID_TEXTS = [None, "", "   ", 0, 7, 1.5, True, False, [], {}, ["x"], {"x": "y"}]
INVALID_COUNTS = [None, "", "7.5", "siete", "1.000", 1.5, 1e300, True, False, [], {}, [7], 10**13,
                  -(10**13)]  # fmt: skip
INVALID_TIMES = [*INVALID_TEXTS, "ayer", "02/11/2019", "2019-11-31T00:00:00", "2019-W44-6",
                 "2019-11-02T24:01:00", "20191102T000000", "2019-11-02T00:00:00 x",
                 "/Date(x)/"]  # fmt: skip
INVALID_SUMMARY = [
    *(("TipoConsumo", value) for value in INVALID_TEXTS if value not in (None, "")),
    *(("FechaActual", value) for value in INVALID_TIMES),
    *((name, value) for name in SUMMARY_FIELDS[2:] for value in INVALID_COUNTS),
]
INVALID_MOVEMENT = [
    *((name, value) for name in ("RFC", "TipoMovimiento") for value in INVALID_TEXTS),
    *(("Fecha", value) for value in INVALID_TIMES),
    *(("Monto", value) for value in INVALID_COUNTS),
]
NAMED = [
    *((name, balance_json(fields, **{name: value}))
      for name, value in INVALID_SUMMARY for fields in (RESPONSE, DETAIL_FIRST)),
    *((name, with_movement(**{name: value})) for name, value in INVALID_MOVEMENT),
    # Missing, or elsewhere.
    *((name, balance_json(without(RESPONSE, name), **further)) for name in SUMMARY_FIELDS[1:]
      for further in ({}, {f"{name}2": RESPONSE[name]}, {"x": {name: RESPONSE[name]}})),
    *((name, balance_json(Detalle=[MOVEMENT, without(MOVEMENT, name)])) for name in MOVEMENT),
    *((name, twice(RESPONSE, name)) for name in RESPONSE),
    *((name, balance_json().replace(json.dumps(MOVEMENT), twice(MOVEMENT, name)))
      for name in MOVEMENT),
    ("Detalle", balance_json().replace('"Detalle"', '"Detalle": [], "D\\u0065talle"')),
    ("Detalle", balance_json().replace('"Detalle"', '"Detalle": null, "Detalle"')),
    *(("Detalle", balance_json(Detalle=value)) for value in ("", "x", 0, 1.5, True, {}, MOVEMENT)),
    *(("Detalle", balance_json(Detalle=[*[MOVEMENT] * before, item, *after]))
      for item in (None, "x", 0, 1.5, True, [], [MOVEMENT])
      for before in (0, 5) for after in ([], [MOVEMENT])),
    ("TipoConsumo", balance_json(TipoConsumo="x" * 101)),
    ("Transacciones appears twice", balance_json(transacciones=3)),
    ("Monto appears twice in a movement", with_movement(MONTO=3)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content"), NAMED)
def test_the_error_names_an_invalid_field(name: str, content: str) -> None:
    expect_rejection(content, name)


def test_a_repeated_field_is_not_quoted_if_its_name_may_be_a_credential() -> None:
    for content in (
        twice(RESPONSE | {"llave": 1}, "llave"),
        balance_json().replace(json.dumps(MOVEMENT), twice(MOVEMENT | {"llave": 1}, "llave")),
    ):
        expect_rejection(content, "a field appears twice")


NUMBERS = [
    "NaN", "-NaN", "Infinity", "-Infinity", "1E400", "-1E400", "1e-2", "1.1", "01", "+1", "1.",
    ".5", "0x10", "1_000", "1,5", "--1", "-", "9" * 19, "9" * 4_301, "-" + "9" * 10_000,
    "1" + "0" * 100_000, "１",
]  # fmt: skip
NOT_UTF_8 = [
    b"\xff", b"\xfe\xff", b"\x80", b"\xc3", b"\xc3(", b"\xc0\xaf", b"\xed\xa0\x80", b"\xed\xb0\x80",
    b"\xe2\x82", b"\xf0\x9f\x98", b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80",
    "Ñ".encode("latin-1"), "Ñ".encode("utf-16"), b"\x00", b"\x1f", b"\n", b"\\x", b"\\u12",
]  # fmt: skip
# A place for a text, and for a number.
TEXTS = [balance_json(TipoConsumo="#"), balance_json(Extra=["#"]),
         *(with_movement(**{name: "#"}) for name in ("RFC", "TipoMovimiento")),
         with_movement(**{"#": 1})]  # fmt: skip
AMOUNTS = [with_movement(Monto="#"), *(balance_json(fields, Transacciones="#")
                                       for fields in (RESPONSE, DETAIL_FIRST))]  # fmt: skip
OTHER = [
    *(text.replace('"#"', number) for text in AMOUNTS for number in NUMBERS),
    *(text.encode().replace(b'"#"', b'"' + bad + b'"') for text in TEXTS for bad in NOT_UTF_8),
    *(balance_json().encode(name) for name in ("utf-16-be", "utf-16-le", "utf-32-le", "cp037")),
    *("", " ", "null", "true", "0", '""', '"Detalle"', "[]", "{}", f"[{balance_json()}]", "[[]]",
      "{", "[", "}", '{"Detalle"}', '{"Detalle": []}', '{"Detalle": [', "Cuenta,TipoConsumo",
      "<!DOCTYPE html><html>Mantenimiento</html>", "\x00", "\ufeff\ufeff{}",
      '{"errors": [{"Code": "400-001", "Message": "x"}]}', '{"Detalle.item": {"RFC": "x"}}'),
    *(balance_json() + end + tail for end in ("", "\n")
      for tail in ("x", "{}", "[]", ",", "]", "}", "null", "\x00", "<html>", "//")),
]  # fmt: skip


@pytest.mark.parametrize("content", OTHER, ids=range(len(OTHER)))
def test_other_content_is_rejected(content: bytes | str) -> None:
    expect_rejection(content)


@pytest.mark.parametrize("comma", [",", ""])
@pytest.mark.parametrize("fields", [RESPONSE, DETAIL_FIRST], ids=["summary first", "Detalle first"])
def test_a_truncated_balance_is_rejected(fields: dict[str, Any], comma: str) -> None:
    content = json.dumps(fields, indent=1).replace(':41",', f':41"{comma}').encode()
    read(content + b"\r\n  \t")
    for length in range(len(content)):
        expect_rejection(content[:length])


@given(st.binary(max_size=60))
def test_arbitrary_bytes_are_rejected(content: bytes) -> None:
    expect_rejection(content)


@given(st.integers(0, len(DOCUMENTED.encode()) - 1), st.binary(max_size=3))
def test_a_modified_byte_is_read_or_rejected(place: int, other: bytes) -> None:
    content = DOCUMENTED.encode()
    modified = content[:place] + other + content[place + 1 :]
    try:
        summary, movements = read(modified)
    except PacError:
        expect_rejection(modified)
    else:
        assert summary.plan or b'"TipoConsumo"' not in modified
        assert all(type(movement.amount) is int for movement in movements)


# ------------------------------------------------------------- large and hostile responses


def test_only_the_rfcs_of_the_movements_stay_in_memory() -> None:
    rows, rfcs = 60_000, 2_000
    movements = [MOVEMENT | {"RFC": f"AAA{n % rfcs:06}AA1", "Monto": n % 7} for n in range(rows)]
    file = io.BytesIO(balance_json(Transacciones=rows, Detalle=movements).encode())
    most = count = amount = 0

    with reading(file) as month:
        before = sys.getallocatedblocks()
        for count, movement in enumerate(month.movements(), 1):
            amount += movement.amount
            if count % 1000 == 0:
                most = max(most, sys.getallocatedblocks() - before)

    assert month.summary.transactions == count == rows
    assert amount == sum(number % 7 for number in range(rows))
    assert most < rows / 3


def test_deep_nesting_in_a_further_field_is_ignored() -> None:
    text = balance_json(Extra="#").replace('"#"', "[" * 50_000 + "]" * 50_000)
    assert read(text)[0].transactions == 5


BEGIN = balance_json(Detalle="#").partition('"#"')[0] + "["
OPEN_MOVEMENT = BEGIN + json.dumps(MOVEMENT)[:-1] + ", "
FIELDS = "".join(f'"{n}": 1, ' for n in range(100_000))


@pytest.mark.parametrize(
    ("begin", "filler"),
    [
        *((BEGIN + begin, filler) for begin, filler in (
            ('{"TipoMovimiento": "', "x"), ('{"TipoMovimiento": "', '\\"'), ('{"', "x"),
            ('{"Monto": ', "9"), ('{"Monto": 0.', "0"), ("{", FIELDS))),
        (OPEN_MOVEMENT + '"x": [', "1, "),
        (OPEN_MOVEMENT + '"x": {', '"y": {}, '),
        (BEGIN + json.dumps(MOVEMENT), " "),
        *(('{"TipoConsumo": "', "x"), ('{"Extra": [', "{}, "), ('{"', "\\u0041"), ("{", FIELDS)),
        *(("", " "), ("", "[")),
        *((begin, opening) for begin in (BEGIN, OPEN_MOVEMENT + '"x": ', '{"Extra": ')
          for opening in ("[", '{"a":', '[{"a":')),
    ],
    ids=range(24),
)  # fmt: skip
def test_an_endless_balance_is_rejected_early_with_little_memory(begin: str, filler: str) -> None:
    file = io.BytesIO((begin + filler * (4 * MIB // len(filler))).encode())
    with memory_below(8 * MIB), pytest.raises(PacError) as caught:
        sum_movements(reading(file).movements())

    assert caught.value.problem_type.code == "pac-protocol-error"
    # The size of a movement plus the read-ahead buffer.
    assert file.tell() <= MIB


@pytest.mark.parametrize("rfc", ["x" * 101, "x\u202ey", "x\u2028y"])
def test_the_text_of_an_rfc_is_short_and_printable(rfc: str) -> None:
    read(with_movement(RFC="x" * 100))
    expect_rejection(with_movement(RFC=rfc), "an RFC in it is not valid")


def test_kinds_are_short_and_few() -> None:
    movements = [MOVEMENT | {"TipoMovimiento": f"{n:0100}"} for n in range(MAX_KINDS + 1)]

    read(balance_json(Detalle=movements[:-1]))
    expect_rejection(balance_json(Detalle=movements), "more than 1,000 kinds")
    expect_rejection(with_movement(TipoMovimiento="x" * 101), "a kind of movement in it is too")


def test_distinct_values_are_limited() -> None:
    values = DistinctValues("reachcore", "RFCs", 2, str.upper)

    assert [values[text] for text in "aba"] == ["A", "B", "A"]
    with pytest.raises(PacError, match="more than 2 RFCs"):
        values["c"]


def test_reading_stops_at_the_deadline() -> None:
    with pytest.raises(TimbresError) as caught:
        sum_and_take_first(reading(balance_json()), Deadline(0))
    assert caught.value.problem_type.code == "out-of-time"
    assert "request one rfc" in caught.value.detail


# ------------------------------------------------------------------------- contradictions


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["Consumo de timbre", " CONSUMO  de timbre", "Cancelación", "Compra"]),
            st.integers(-50, 50),
        )
    ),
    st.integers(-3, 3),
    st.booleans(),
)
def test_movements_are_verified_against_the_total_of_the_consumption(
    lines: list[tuple[str, int]], off: int, one_issuer: bool
) -> None:
    detail = [MOVEMENT | {"TipoMovimiento": kind, "Monto": amount} for kind, amount in lines]
    consumed = sum(amount for kind, amount in lines if "consumo" in kind.casefold())
    month = reading(
        balance_json(Detalle=detail, Transacciones=consumed + off), one_issuer=one_issuer
    )

    verified = month.verified_movements()

    # A negative total is not known.
    if off == 0 or (one_issuer and off > 0) or consumed + off < 0:
        assert list(verified) == list(month.movements())
        return
    with pytest.raises(PacError) as caught:
        list(verified)
    assert caught.value.problem_type.code == "pac-protocol-error"
    assert caught.value.problem_type.retryable
    assert f"a total of {consumed + off} stamps" in caught.value.detail
    assert caught.value.detail.endswith(f"adds up to {consumed}.")
