"""Apps as files for hosts that portkit does not reach: other disk formats, OVA, Kubernetes.

What such a file cannot say is a Finding, field by field.
"""
