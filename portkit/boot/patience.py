"""How long things may take that nothing else limits."""

# As long as an App that sets no timeout is waited for at most (`portkit.health.deadline`).
PATIENCE_S = 600.0
