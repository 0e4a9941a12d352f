"""The fake Solución Factible's account-level stamps: every stamp that is used is the account's."""

from __future__ import annotations

import pytest
from local.fake_pacs.fake_data import FakePacStateError, SolucionFactibleAccount, mexico_now
from local.fake_pacs.fake_data import Issuer as FakeIssuer
from local.fake_pacs.fake_data import SolucionFactibleState as State

RFC, OTHER = "A&D061009TY8", "ÑAN840101AB1"


def counts(state: State, rfc: str | None = None) -> tuple[int, int, int]:
    """Return contratados, usados and disponibles, of an issuer or of the account."""
    issuer = state.account_stamps("acme") if rfc is None else state.stamps("acme", rfc)
    assert issuer is not None
    return issuer.contratados, issuer.usados, issuer.disponibles


@pytest.fixture
def state() -> State:
    issuers = {RFC: FakeIssuer(100, 40), OTHER: FakeIssuer(0, 7)}
    return State([SolucionFactibleAccount("acme", "secreta", issuers=issuers, contratados=100)])


def test_the_account_has_used_what_its_issuers_have_used(state: State) -> None:
    assert counts(state) == (100, 47, 53)
    state.consume(RFC, 3)
    state.set_issuer(RFC, usados=50)
    assert counts(state) == (100, 57, 43)
    # Generated issuers bring what they have used.
    state.load_issuers(5)
    assert counts(state) == (110, 67, 43)


def test_an_issuer_without_a_contract_uses_the_stamps_of_the_account(state: State) -> None:
    state.consume(OTHER, 5)
    assert counts(state, OTHER) == (0, 12, 0)
    assert counts(state) == (100, 52, 48)


def test_a_contract_allots_stamps_and_creates_none(state: State) -> None:
    assert state.contract("acme", RFC, 500, mexico_now())
    assert counts(state, RFC) == (600, 40, 560)
    assert counts(state) == (100, 47, 53)


@pytest.mark.parametrize("rfc", [RFC, OTHER])
def test_no_issuer_can_use_more_than_the_account_has(state: State, rfc: str) -> None:
    assert state.contract("acme", RFC, 500, mexico_now())
    with pytest.raises(FakePacStateError, match="the account has only 53"):
        state.consume(rfc, 54)
    state.consume(rfc, 53)
    with pytest.raises(FakePacStateError, match="the account has only 0"):
        state.consume(RFC, 1)


def test_the_stamps_of_the_account_can_be_set(state: State) -> None:
    state.set_account(contratados=60)
    assert counts(state) == (60, 47, 13)
    with pytest.raises(FakePacStateError, match="usados"):
        state.set_account(contratados=10)
