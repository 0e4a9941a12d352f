"""The stamps of accounts in the daily run: snapshots, alerts, failures and over-allotment."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest
from tests.support.fake_stack import RC, RFC, RFC_N, SF, FakeStack

from timbres.repositories.daily_counts import RETENTION, AccountStampRepository

OPERATION = "getTimbresImplementacion"
EMPTY, UNUSED, BUSY = "AAA010101AAA", "ACM010203XY9", "GOMP800101QX2"
EVENTS = ("Account Stamps Low", "Account Stamps Exhausted")


def of_account(run: dict[str, Any], name: str = SF) -> Any:
    """Return the account's own stamps in the record of a run, or None."""
    return next(one["account_stamps"] for one in run["accounts"] if one["account"] == name)


def account_items(stack: FakeStack) -> list[dict[str, Any]]:
    """Return the stored counts of accounts, the oldest first."""
    items = stack.aws.items("SnapshotsTable")
    return sorted(
        (item for item in items if item["entry"].startswith("account#")),
        key=lambda item: item["entry"],
    )


def set_left(stack: FakeStack, left: int) -> None:
    """Let the account have a number of stamps left."""
    stack.pacs.state.solucion_factible.set_account(contratados=10_000, usados=10_000 - left)


def published(stack: FakeStack) -> Counter[str]:
    return Counter(entry["DetailType"] for entry in stack.published)


# ------------------------------------------------------------------------------ the count


def test_an_account_is_counted_once_a_day_and_is_not_an_issuer(stack: FakeStack) -> None:
    stack.accounts.add_issuers([RFC])
    run = stack.run()

    stamps = of_account(run)
    as_of = datetime.fromisoformat(stamps["as_of"])
    assert abs(as_of - stack.clock()) < timedelta(minutes=1)
    assert stamps == {
        "contracted": 10_000,
        "used": 1050,
        "available": 8950,
        "as_of": stamps["as_of"],
        "days_left": None,
        "alert": "ok",
        "problem": None,
        "issuers_available": 750,
        "issuers_unknown": 0,
        "over_allotted": False,
    }
    assert of_account(run, RC) is None
    assert (run["expected"], run["done"]) == (4, 4)
    (item,) = account_items(stack)
    assert (item["account"], item["entry"]) == (SF, "account#2026-11-19")
    age = timedelta(seconds=int(item["expires_at"]) - stack.clock().timestamp())
    assert abs(age - RETENTION) < timedelta(minutes=5)

    issuers = stack.get(f"/accounts/{SF}/stamps").body["issuers"]
    assert [issuer["rfc"] for issuer in issuers] == [RFC]
    balance = stack.get(f"/accounts/{SF}/balance", month="2026-11").body
    assert {line["rfc"] for line in balance["by_issuer"]} <= {RFC}

    stack.clock.forward(hours=2)
    assert of_account(stack.run()) == stamps
    assert account_items(stack) == [item]
    assert stack.pacs.calls().count(OPERATION) == 1


def test_a_large_account_is_counted_by_one_of_its_batches(
    sf: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("timbres.services.daily_run.start.BATCH_SIZE", 2)
    sf.accounts.add_issuers([RFC, RFC_N, EMPTY, UNUSED, BUSY])
    stamps = of_account(sf.run())
    assert (stamps["issuers_available"], stamps["issuers_unknown"]) == (750 + 20 + 50 + 180, 0)
    assert sf.pacs.calls().count(OPERATION) == 1
    assert len(account_items(sf)) == 1


def test_burn_rate_and_days_left_follow_from_the_daily_counts(sf: FakeStack) -> None:
    for left in (2000, 1900, 1800):
        set_left(sf, left)
        run = sf.run()
        sf.clock.forward(days=1)
    stamps = of_account(run)
    assert stamps["days_left"] == pytest.approx(18, abs=0.1)
    assert [int(item["available"]) for item in account_items(sf)] == [2000, 1900, 1800]


# ----------------------------------------------------------------------------- the alerts


@pytest.mark.parametrize(
    ("low_stamps", "days", "expected"),
    [
        # 100 a day: fewer than 7 days are left on the fourth.
        (None, (900, 800, 700, 600, 500, 0, 0), [None, None, None, "Low", None, "Exhausted", None]),
        (50, (49, 49, 9000, 49), ["Low", None, None, "Low"]),
        (None, (0, 0), ["Exhausted", None]),
    ],
)
def test_each_alert_of_an_account_is_one_event_and_one_mail(
    sf: FakeStack, low_stamps: int | None, days: tuple[int, ...], expected: list[str | None]
) -> None:
    sf.accounts.change(SF, sf.accounts.secret(SF, low_stamps=low_stamps))
    found: list[str | None] = []
    for left in days:
        set_left(sf, left)
        before, mails = published(sf), len(sf.mails())
        run = sf.run()
        new = [name for name in EVENTS if published(sf)[name] > before[name]]
        assert sum((published(sf) - before)[name] for name in EVENTS) == len(new) <= 1
        found.append(new[0].removeprefix("Account Stamps ") if new else None)
        assert len(sf.mails()) - mails == len(new)
        # An account is not an issuer.
        assert (run["low"], run["exhausted"]) == (0, 0)
        sf.clock.forward(days=1)
    assert found == expected


def test_the_mail_has_the_account_before_all_issuers(sf: FakeStack) -> None:
    sf.accounts.add_issuers([RFC, EMPTY])
    for left in (300, 200):
        set_left(sf, left)
        run = sf.run()
        sf.clock.forward(days=1)

    completed = sf.events("Daily Run Completed")[-1]
    (change,) = completed["account_stamps"]
    assert (change["account"], change["alert"], change["available"]) == (SF, "low", 200)
    assert "rfc" not in change
    assert sf.events("Account Stamps Low") == [change | {"run": run["id"]}]
    assert completed["issuers"] == []
    *_, mail = sf.mails()
    assert mail.startswith(f"Timbres: los timbres de {SF} se agotan en ")
    assert f"Los timbres de la cuenta {SF} se agotan en " in mail


def test_accounts_come_first_in_one_mail(sf: FakeStack) -> None:
    sf.accounts.add_issuers([EMPTY])
    set_left(sf, 0)
    sf.run()
    (mail,) = sf.mails()
    assert mail.startswith(f"Timbres: la cuenta {SF} ya no tiene timbres\n")
    assert mail.index("ninguno puede facturar") < mail.index(EMPTY)


# --------------------------------------------------------------------------- the failures


@pytest.mark.parametrize(
    ("fault", "code", "calls"),
    [
        ({"fault": "code", "code": "620"}, "pac-permission-denied", 1),
        ({"fault": "wrong-shape"}, "pac-protocol-error", 1),
        ({"fault": "code", "code": "500"}, "pac-error", 3),
        ({"fault": "cut-before"}, "pac-timeout", 3),
    ],
)
def test_a_failure_is_recorded_and_spoils_no_count_of_an_issuer(
    sf: FakeStack, fault: dict[str, Any], code: str, calls: int
) -> None:
    sf.accounts.add_issuers([RFC, EMPTY])
    sf.pacs.fault(OPERATION, times=-1, **fault)
    begun = sf.clock()

    run = sf.run()

    assert (run["status"], run["done"], run["failed"]) == ("finished", 2, {})
    # The issuers' results wait for a few attempts only.
    assert sf.clock() - begun < timedelta(minutes=10)
    assert sf.pacs.calls().count(OPERATION) == calls
    stamps = of_account(run)
    assert (stamps["problem"], stamps["available"], stamps["alert"]) == (code, None, None)
    assert stamps["over_allotted"] is None
    assert sf.events("Daily Run Completed")[0]["account_stamps_problems"] == {SF: code}
    (mail,) = sf.mails()
    assert mail.index(EMPTY) < mail.index("los timbres de la cuenta misma: ")
    (line,) = sf.logs.lines("an account's stamps were not counted")
    assert (line["account"], line["code"]) == (SF, code)
    assert account_items(sf) == []


def test_a_temporary_failure_is_retried(sf: FakeStack) -> None:
    sf.accounts.add_issuers([RFC])
    sf.pacs.fault(OPERATION, "cut-before", times=2)

    stamps = of_account(sf.run())

    assert (stamps["available"], stamps["problem"]) == (8950, None)
    # The issuer is counted by the first attempt only.
    assert Counter(sf.pacs.calls()) == {OPERATION: 3, "getTimbres": 1}


@pytest.mark.parametrize("fault", ["soap-fault", "missing-fields"])
def test_an_unknown_count_is_neither_a_failure_nor_zero(sf: FakeStack, fault: str) -> None:
    sf.accounts.add_issuers([RFC])
    sf.pacs.fault(OPERATION, fault, times=-1)
    run = sf.run()
    assert (run["status"], run["done"]) == ("finished", 1)
    assert of_account(run) is None
    assert account_items(sf) == []
    assert sf.events("Daily Run Completed")[0]["account_stamps_problems"] == {}


def test_an_unexpected_error_spoils_no_count_of_an_issuer(
    sf: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(AccountStampRepository, "get", broken)
    sf.accounts.add_issuers([RFC])
    run = sf.run()
    assert (run["status"], run["done"], run["failed"]) == ("finished", 1, {})
    stamps = of_account(run)
    assert stamps["problem"] == "internal-error"


def test_rejected_credentials_are_one_sign_in(sf: FakeStack) -> None:
    sf.accounts.add_issuers([RFC, EMPTY])
    sf.pacs.fault(OPERATION, "code", code="601", times=-1)
    run = sf.run()
    assert sf.pacs.calls() == [OPERATION]
    assert run["failed"] == {"pac-credentials-rejected": 2}
    stamps = of_account(run)
    assert stamps["problem"] == "pac-credentials-rejected"


def test_a_run_that_is_closed_before_the_account_is_counted(sf: FakeStack) -> None:
    sf.invoke("run", {"scheduled_time": sf.clock().isoformat()})
    sf.clock.forward(hours=7)
    sf.close_overdue()
    (listed,) = sf.get("/runs").body["runs"]
    stamps = of_account(sf.get(f"/runs/{listed['id']}").body)
    assert stamps["problem"] == "not-reached"


# -------------------------------------------------------------------------- over-allotment


@pytest.mark.parametrize(
    ("left", "is_complete", "expected"),
    [
        (769, True, True),
        (770, True, False),
        (0, True, True),
        (8000, True, False),
        (749, False, True),
        (760, False, None),
    ],
)
def test_the_record_says_whether_issuers_have_more_than_the_account(
    sf: FakeStack, left: int, is_complete: bool, expected: bool | None
) -> None:
    sf.accounts.add_issuers([RFC, RFC_N])
    if not is_complete:
        sf.pacs.fault("getTimbres", "code", code="632", rfc=RFC_N, times=-1)
    set_left(sf, left)

    stamps = of_account(sf.run())

    figures = (770, 0) if is_complete else (750, 1)
    assert (stamps["issuers_available"], stamps["issuers_unknown"]) == figures
    assert stamps["over_allotted"] is expected


# -------------------------------------------------------------- issuers without a contract


def test_an_issuer_without_a_contract_is_not_exhausted(sf: FakeStack) -> None:
    sf.accounts.add_issuers([RFC, BUSY, EMPTY])
    state = sf.pacs.state.solucion_factible
    for rfc in (BUSY, EMPTY):
        state.set_issuer(rfc, contratados=0, usados=30)

    run = sf.run()

    assert (run["low"], run["exhausted"]) == (0, 0)
    assert published(sf) == {"Daily Run Completed": 1}
    assert sf.mails() == []
    lines = sf.get(f"/accounts/{SF}/stamps").body["issuers"]
    assert [line["rfc"] for line in lines] == [RFC, EMPTY, BUSY]
    assert [line["alert"] for line in lines] == ["ok", "no-contract", "no-contract"]
    assert [line["days_left"] for line in lines] == [None] * 3
    stamps = of_account(run)
    # It has no stamps of its own that could be over-allotted.
    assert (stamps["issuers_available"], stamps["issuers_unknown"]) == (750, 0)


def test_an_issuer_whose_contract_expires_and_is_renewed(sf: FakeStack) -> None:
    sf.accounts.add_issuers([BUSY])
    state, alerts = sf.pacs.state.solucion_factible, []
    for contracted, used in ((300, 300), (0, 0), (0, 5), (100, 100)):
        state.set_issuer(BUSY, contratados=contracted, usados=used)
        sf.run()
        alerts.append(sf.get(f"/accounts/{SF}/stamps").body["issuers"][0]["alert"])
        sf.clock.forward(days=1)
    assert alerts == ["exhausted", "no-contract", "no-contract", "exhausted"]
    assert published(sf)["Stamps Exhausted"] == 2
    assert len(sf.mails()) == 2
