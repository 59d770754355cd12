"""The name that holds an image on a host."""

from portkit import transfer


def held(digits: str, move: str = "pk-0123456789ab") -> str:
    return transfer.held_name("sha256:" + digits.ljust(64, "0"), move)


def test_images_that_look_alike_do_not_share_a_name() -> None:
    """hostile input 20: 48 bits are forged in a minute, and the tag of the first would move."""
    assert held("a" * 12 + "b" * 20) != held("a" * 12 + "c" * 20)
    assert held("a").startswith("portkit/held:a")


def test_each_move_has_a_name_of_its_own() -> None:
    """So that the one that ends first takes nothing away from the other."""
    assert held("a") != held("a", "pk-ba9876543210")
