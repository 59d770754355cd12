"""The remote half: runs on a host in its own python3 (3.9 or newer), standard library only.

Its modules are sent over the connection and never installed; see docs/protocol.md.
"""
