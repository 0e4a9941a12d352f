"""Asking: many issuers' stamps of one PAC, many at a time, and never faster than agreed."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from queue import Empty, SimpleQueue

from timbres.aws.pace import Pace
from timbres.deadline import Deadline
from timbres.domain.account import Account
from timbres.domain.rfc import Rfc
from timbres.domain.stamps import Stamps
from timbres.errors import CREDENTIALS_ON_TRIAL, PacError, TimbresError
from timbres.pacs.base import CONNECTIONS
from timbres.pacs.codes import CREDENTIALS_REJECTED, OVERWHELMED, UNREACHABLE
from timbres.work.access import Access

Answer = Stamps | TimbresError | None
"""What was heard of an issuer: its stamps, why not, or None where no time was left to ask."""

# The state of the PAC or the account, not of one issuer: asking for the others only presses.
ALL_ALIKE = OVERWHELMED | {UNREACHABLE, CREDENTIALS_ON_TRIAL}

# One call with its connect and read time-outs.
_CALL_SECONDS = 14.0
# An overwhelmed PAC is given so many rests before its issuers are left for later.
_ROUNDS = 4
_FIRST_REST_SECONDS = 2.0
# A PAC that refuses fewer of the calls does so at any pace.
_TOO_MANY = 0.1
# While one thread leases, the others wait: seldom, then, where the account allows many calls.
_LEASED_AT_ONCE = 512


class Asking:
    """Asks PACs for the stamps of many issuers. ``reserve`` seconds of a deadline are left."""

    def __init__(self, access: Access, pace: Pace, reserve: float) -> None:
        self._access = access
        self._pace = pace
        self._reserve = reserve

    def answers(
        self, account: Account, rfcs: Sequence[str], deadline: Deadline
    ) -> Iterator[tuple[str, Answer]]:
        """Yield each of ``rfcs`` once with what was heard of it, as the answers come.

        While the PAC says that it cannot take more, those left are asked again at half the
        pace, after a rest.
        """
        waiting = list(rfcs)
        for turn in range(_ROUNDS):
            overwhelmed: dict[str, Answer] = {}
            for rfc, answer in self._signed_in(account, waiting, deadline):
                if isinstance(answer, TimbresError) and answer.kind in OVERWHELMED:
                    overwhelmed[rfc] = answer
                else:
                    yield rfc, answer
            rest = _FIRST_REST_SECONDS * 2**turn * random.uniform(0.5, 1)  # noqa: S311 jitter
            last = turn == _ROUNDS - 1 or deadline.left() < self._reserve + _CALL_SECONDS + rest
            if not overwhelmed or last:
                yield from overwhelmed.items()
                return
            time.sleep(rest)
            waiting = list(overwhelmed)

    def _signed_in(
        self, account: Account, rfcs: Sequence[str], deadline: Deadline
    ) -> Iterator[tuple[str, Answer]]:
        """Yield as a turn does; a password replaced meanwhile gives the rejected a second."""
        account = self._access.current(account)
        rejected: dict[str, Answer] = {}
        for rfc, answer in self._turn(account, rfcs, deadline):
            if isinstance(answer, TimbresError) and answer.kind is CREDENTIALS_REJECTED:
                rejected[rfc] = answer
            else:
                yield rfc, answer
        renewed = self._access.current(account) if rejected else account
        if renewed.version == account.version:
            yield from rejected.items()
        else:
            yield from self._turn(renewed, list(rejected), deadline)

    def _turn(
        self, account: Account, rfcs: Sequence[str], deadline: Deadline
    ) -> Iterator[tuple[str, Answer]]:
        if not rfcs:
            return
        tokens = _Tokens(self._pace, account, deadline, self._reserve)
        # One alone at first: a wrong password is then one sign-in, not one a thread.
        first, *others = rfcs
        answer = self._ask(account, first, deadline, tokens, alone=True)
        yield first, answer
        if isinstance(answer, TimbresError) and answer.kind in ALL_ALIKE | {CREDENTIALS_REJECTED}:
            yield from ((rfc, answer) for rfc in others)
            return
        waiting: SimpleQueue[str] = SimpleQueue()
        for rfc in others:
            waiting.put(rfc)
        # A queue each way costs a tenth of what a future for each call does.
        heard: SimpleQueue[tuple[str, Answer] | Exception] = SimpleQueue()

        def ask_on() -> None:
            with suppress(Empty):
                while True:
                    rfc = waiting.get_nowait()
                    try:
                        heard.put((rfc, self._ask(account, rfc, deadline, tokens)))
                    except Exception as error:
                        heard.put(error)

        threads = min(CONNECTIONS, account.calls_in_flight)
        with ThreadPoolExecutor(threads) as pool:
            for _ in range(min(threads, len(others))):
                pool.submit(ask_on)
            try:
                for _ in others:
                    found = heard.get()
                    if isinstance(found, Exception):
                        raise found
                    yield found
            finally:
                # After an error of our own, nobody would hear the other answers.
                with suppress(Empty):
                    while True:
                        waiting.get_nowait()

    def _ask(
        self,
        account: Account,
        rfc: str,
        deadline: Deadline,
        tokens: _Tokens,
        *,
        alone: bool = False,
    ) -> Answer:
        if tokens.rejection is not None:
            return tokens.rejection
        if not tokens.take():
            return None
        # The first may follow the secret to its next version; the others follow the first.
        way = self._access.read if alone else self._access.once
        call = Deadline(min(_CALL_SECONDS, deadline.left()))
        try:
            now = self._access.current(account)
            return way(now, lambda pac: pac.stamps(Rfc(rfc), call))
        except TimbresError as error:
            if error.kind in OVERWHELMED and tokens.pressed():
                self._pace.slow_down(account.name)
            elif isinstance(error, PacError) and error.kind is CREDENTIALS_REJECTED:
                tokens.rejection = error
            return error


class _Tokens:
    """The calls that this process may make now, leased of the pace that all workers share."""

    def __init__(self, pace: Pace, account: Account, deadline: Deadline, reserve: float) -> None:
        self._pace = pace
        self._account = account
        self._deadline = deadline
        self._reserve = reserve
        self._left = 0
        self._taken = self._refused = 0
        self._lock = threading.Lock()
        self.rejection: PacError | None = None

    def take(self) -> bool:
        """Wait for a call's turn; False when the time does not reach for it."""
        with self._lock:
            while self._left == 0:
                if self._deadline.left() < self._reserve:
                    return False
                most = self._account.calls_per_second
                self._left = self._pace.lease(self._account.name, most, _LEASED_AT_ONCE)
                if self._left == 0:
                    time.sleep(1.001 - time.time() % 1)
            self._left -= 1
            self._taken += 1
            return True

    def pressed(self) -> bool:
        """Note a call that was too much; tell whether those are many, and not a few by chance."""
        with self._lock:
            self._refused += 1
            return self._refused >= _TOO_MANY * self._taken
