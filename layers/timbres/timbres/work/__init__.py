"""What a user asks for, one module an operation; each answers with plain JSON values."""
