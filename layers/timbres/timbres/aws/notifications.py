"""Publishes mails to an SNS topic."""

from __future__ import annotations

from typing import Any

from timbres.notifications.mails import Mail


class MailPublisher:
    """Publishes mails; ``sns`` is a client, ``arn`` is the ARN of the topic."""

    def __init__(self, sns: Any, arn: str) -> None:
        self._sns = sns
        self._arn = arn

    def send(self, mail: Mail) -> None:
        """Send a mail to all subscribers."""
        self._sns.publish(TopicArn=self._arn, Subject=mail.subject, Message=mail.text)
