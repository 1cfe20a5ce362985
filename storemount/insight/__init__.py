"""What a mount tells of itself: figures and metrics, the log, what is slow, and a dump of what it does right now.

What it is not: a decision. Nothing here changes what a mount does.
"""
