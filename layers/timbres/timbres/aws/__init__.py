"""Clients of AWS services other than DynamoDB tables: events, queues, objects, notifications."""
