"""Publishes mails to an SNS topic, and checks that somebody gets them."""

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

    def has_subscriber(self) -> bool:
        """Return whether the topic has a subscription that is confirmed and not deleted."""
        pages = self._sns.get_paginator("list_subscriptions_by_topic").paginate(TopicArn=self._arn)
        # Otherwise the ARN is PendingConfirmation or Deleted.
        return any(
            item["SubscriptionArn"].startswith("arn:")
            for page in pages
            for item in page["Subscriptions"]
        )
