"""Sovos Reachcore: balances and statements over REST."""
