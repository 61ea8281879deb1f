"""Other systems on the same files in the same run, each in an environment of its own.

`run.py` gives all the same minutes; `race.py`, which needs its results, finds how soon omnifuse reaches their scores.
"""
