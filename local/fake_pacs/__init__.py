"""Fake PACs: stateful HTTP servers that replace the real PACs.

They follow the PACs' public documentation only and share no code with the clients, so an error on
one side does not hide an error on the other.
"""
