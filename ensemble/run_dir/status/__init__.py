"""How far a run is, from its files alone: nothing is locked, written or believed to be whole.

Nothing heavy is imported, so that the answer comes at once, from another terminal too. What is half
written, damaged or of former settings counts as not done.
"""
