"""A web server on loopback that cuts, lies and stalls, as a test says."""

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LOOPBACK = ("127.0.0.1",)


class Server(ThreadingHTTPServer):
    """Answers with ``data`` as ``way`` says; ``asked`` are the (path, Range) of all requests."""

    daemon_threads = True

    def __init__(self, data):
        super().__init__((*LOOPBACK, 0), Handler)
        self.data, self.way, self.asked = data, Handler.honest, []
        self.over = threading.Event()  # ends what stalls

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/text"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

    def do_GET(self):
        self.server.asked.append((self.path, self.headers.get("Range")))
        with contextlib.suppress(ConnectionError):  # who asked may not wait
            self.server.way(self)

    @property
    def begin(self):
        said = self.headers.get("Range")
        return int(said.removeprefix("bytes=").rstrip("-")) if said else 0

    def head(self, status, length, **headers):
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def part(self, begin, cut=None):
        """What begins there, or only so many bytes of it, and the connection ends."""
        data = self.server.data
        said = {"Content_Range": f"bytes {begin}-{len(data) - 1}/{len(data)}"} if begin else {}
        self.head(206 if begin else 200, len(data) - begin, **said)
        self.wfile.write(data[begin:][:cut])

    def honest(self):
        self.part(self.begin)

    def cutting(self):
        self.part(self.begin, 100_000)

    def deaf(self):
        """Ignores Range."""
        self.part(0)

    def cutting_deaf(self):
        self.part(0, 100_000)

    def silent(self):
        self.part(self.begin, 0)

    def stalling(self):
        self.part(self.begin, max(0, 70_000 - self.begin))
        self.wfile.flush()
        self.server.over.wait()

    def never_answering(self):
        """Or long after anybody waits for it."""
        self.server.over.wait(3)
        self.honest()

    def endless(self):
        self.send_response(200)
        self.end_headers()
        try:
            self.wfile.write(self.server.data[self.begin :])
            while True:
                self.wfile.write(b"more and more " * 1000)
        except OSError:
            self.server.over.set()

    def short(self):
        self.head(200, 1000)
        self.wfile.write(self.server.data[:1000])

    def elsewhere(self):
        """Sends the last part whatever is asked."""
        last = len(self.server.data) - 10
        self.head(206, 10, Content_Range=f"bytes {last}-{last + 9}/{last + 10}")
        self.wfile.write(self.server.data[-10:])

    def beyond(self):
        self.head(416, 0)

    def gone(self):
        self.head(404, 0)

    def packed(self):
        self.head(200, 3, Content_Encoding="gzip")
        self.wfile.write(b"zip")

    def babbling(self):
        self.wfile.write(b"220 this is no web server\r\n")

    def moved(self, to):
        if self.path == "/there":
            self.honest()
        else:
            self.head(302, 0, Location=to)
