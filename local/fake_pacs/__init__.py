"""PACs with a memory, spoken to over real HTTP in place of the real ones.

They are written from the PACs' public documentation alone and know nothing of
the code that calls them, so that both sides can be wrong independently.
"""
