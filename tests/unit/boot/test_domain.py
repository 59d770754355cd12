from portkit.boot.domain import exit_code, plain


def test_the_exit_code_is_what_init_said_last() -> None:
    log = "portkit: starting a\r\nportkit: app exited with code 3\r\nportkit: starting again\r\n"
    assert exit_code(log) == 3
    assert exit_code(log + "portkit: app exited with code 0\r\n") == 0


def test_no_word_no_code() -> None:
    assert exit_code("") is None
    assert exit_code("the app said: portkit: app exited with code 3") is None


def test_what_firmware_draws_is_gone() -> None:
    assert plain("\x1b[2J\x1b[01;01Hhello\r\n\x1b[=3h") == "hello\n"
