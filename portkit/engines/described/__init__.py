"""Containers that somebody else made, as a compose file: looked at, and put into its words."""
