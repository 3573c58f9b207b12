"""From a submission that nobody vouches for to a score that somebody can stand by.

Nothing here imports, unpickles or runs a student's work in its own process.
"""
