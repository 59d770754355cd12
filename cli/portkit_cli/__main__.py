"""`python -m portkit_cli` is `portkit`."""

from portkit_cli.main import main

if __name__ == "__main__":
    main(prog_name="portkit")
