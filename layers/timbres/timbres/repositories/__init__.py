"""What is stored in DynamoDB and Secrets Manager, as domain objects."""
