"""S3 of the tests: moto, behind a server that keeps connections open, and that fails as it is told to.

s3.py PORT. Beside the API it answers POST /~suffer (what befalls calls that write an object: an "error" with status and code; "lost" for an answer that never comes;
"random" for both at times) and POST /~counts.
"""

import json
import random
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.test import EnvironBuilder, run_wsgi_app

app = DomainDispatcherApplication(create_backend_app)
# Moto's own code is not made for calls at the same time.
lock = threading.RLock()
suffering = {}
dice = random.Random(1)
counts = {"puts": 0, "failed": 0}


def passed(method, headers, target, body):
    kept = [(name, value) for name, value in headers.items() if name.lower() not in ("content-length", "connection")]
    parts = urlsplit(target)
    builder = EnvironBuilder(path=unquote(parts.path), query_string=parts.query, method=method, data=body, headers=kept)
    environ = builder.get_environ()
    # As a server has it, for names of objects with a percent sign.
    environ["RAW_URI"] = environ["REQUEST_URI"] = target
    with lock:
        answer, status, found = run_wsgi_app(app, environ, buffered=True)
        whole = b"".join(answer)
    builder.close()
    return int(status.split()[0]), list(found), whole


def error(status, code):
    body = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>as it is told to</Message></Error>'
    return status, [("Content-Type", "application/xml")], body.encode()


def answer_to(method, headers, target, body):
    """A status, headers and a body; None if the connection breaks without an answer."""
    if method != "PUT" or target.count("/") < 2:
        return passed(method, headers, target, body)
    counts["puts"] += 1
    if "error" in suffering:
        counts["failed"] += 1
        return error(*suffering["error"])
    chance = dice.random() if "random" in suffering else 1
    if chance < 0.1:
        counts["failed"] += 1
        return error(*((503, "SlowDown") if chance < 0.05 else (500, "InternalError")))
    found = passed(method, headers, target, body)
    if chance < 0.2 or "lost" in suffering:
        counts["failed"] += 1
        return None
    return found


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    # Headers and body leave together.
    wbufsize = -1

    def answer(self):
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        if len(body) < length:
            # The client has given up: nothing of a part is kept.
            self.close_connection = True
            return
        if self.path.startswith("/~"):
            if self.path == "/~suffer":
                suffering.clear()
                suffering.update(json.loads(body))
            found = 200, [("Content-Type", "application/json")], json.dumps(counts).encode()
        else:
            found = answer_to(self.command, self.headers, self.path, body)
        if found is None:
            self.close_connection = True
            return
        status, headers, whole = found
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in ("content-length", "connection", "date", "server"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(whole)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(whole)
        self.wfile.flush()

    do_DELETE = do_GET = do_HEAD = do_POST = do_PUT = answer

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
