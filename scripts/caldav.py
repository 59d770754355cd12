"""Write an event to a Radicale and read it back. Usage: caldav.py http://HOST:PORT"""

import sys
import time
import urllib.error
import urllib.request

EVENT = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//portkit//demo//EN
BEGIN:VEVENT
UID:demo@portkit
DTSTAMP:20260101T000000Z
DTSTART:20260102T100000Z
SUMMARY:Carried over
END:VEVENT
END:VCALENDAR
""".replace("\n", "\r\n")


def ask(url: str, method: str, text: str = "") -> tuple[int, str]:
    """Status and body; every name is let in by the app's configuration."""
    headers = {"Authorization": "Basic ZGVtbzpkZW1v", "Content-Type": "text/calendar"}
    asked = urllib.request.Request(url, text.encode() or None, headers, method=method)
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""


def wait(address: str, seconds: float = 120.0) -> None:
    """Until it answers at all: a VM takes some seconds."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            ask(f"{address}/.web/", "GET")
            return
        except OSError:
            if time.monotonic() > deadline:
                sys.exit(f"{address} does not answer")
            time.sleep(0.2)


def main(address: str) -> None:
    """Exit with an error when the event does not come back."""
    wait(address)
    calendar = f"{address}/demo/calendar"
    ask(f"{calendar}/", "MKCALENDAR")
    wrote, _ = ask(f"{calendar}/event.ics", "PUT", EVENT)
    read, body = ask(f"{calendar}/event.ics", "GET")
    if "SUMMARY:Carried over" not in body:
        sys.exit(f"PUT {wrote}, GET {read}: the event did not come back")
    print(f"PUT {wrote}, GET {read}: SUMMARY:Carried over")


if __name__ == "__main__":
    main(sys.argv[1])
