"""What both ends of a connection share: frames, compression, recipes, content and its archives.

Standard library only and Python 3.9: these modules also run on hosts (`portkit.remote`).
"""
