"""Repositories: domain objects in DynamoDB and Secrets Manager."""
