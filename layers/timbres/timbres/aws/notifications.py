"""The topic whose subscribers get Timbres' mails."""

from __future__ import annotations

from typing import Any

from timbres.notifications.mails import Mail


class MailPublisher:
    """The topic of the mails; ``sns`` is a client, ``arn`` the topic's."""

    def __init__(self, sns: Any, arn: str) -> None:
        self._sns = sns
        self._arn = arn

    def send(self, mail: Mail) -> None:
        """Send a mail to all who subscribe."""
        self._sns.publish(TopicArn=self._arn, Subject=mail.subject, Message=mail.text)
