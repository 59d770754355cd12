"""GET / asks the four others, and is 200 when all of them gave the right answer; GET /own asks
nobody; GET /memory is what the kernel says of the memory of the whole machine."""

import http.client
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PAGES = {"catalog": b"teapot", "prices": b"12.50", "pages": b"Terms"}
TIMEOUT_S = 5


def page(name):
    connection = http.client.HTTPConnection(name, 8000, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/terms.html")
        return PAGES[name] in connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def cache():
    try:
        with socket.create_connection(("cache", 6379), TIMEOUT_S) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64) == b"+PONG\r\n"
    except OSError:
        return False


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/own":
            self.answer(200, "the front\n")
        elif self.path == "/memory":
            self.answer(200, Path("/proc/meminfo").read_text())
        else:
            found = 1 + cache() + sum(map(page, PAGES))
            self.answer(200 if found == 5 else 503, f"{found} of 5\n")

    def answer(self, status, text):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("", 8000), Handler).serve_forever()
