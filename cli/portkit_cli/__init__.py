"""The command line of portkit: it parses, calls the library, and prints."""
