"""What `rivals.py` runs in turn: each file one way to do the same work, written as its users do."""
