"""Random hostile input, the same for the same seed: `make fuzz`, some seconds in the tests."""
