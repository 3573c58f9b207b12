"""The instructor's desk: nbgrader's commands, the gradebook's exports, an example class.

It stands above lessons and grading, and nothing below imports it.
"""
