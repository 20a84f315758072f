#!/usr/bin/env python3
"""A service that gets events: it "mails" a confirmation of each order, once.

    mailer.py 9301    # fails while there is a file no-stamps in the folder

Python's standard library alone: the mesh calls it with plain HTTP. An event may come
again (docs/subscriptions.md), so it remembers what it has done; a real service does so
where it keeps the rest of its data.
"""
import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

done = set()


class Mailer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if os.path.exists("no-stamps"):
            return self.answer(500, "no stamps left")
        if self.headers["Idempotency-Key"] not in done:
            print("mailed", event["type"], event["subject"], event["data"], flush=True)
            done.add(self.headers["Idempotency-Key"])
        self.answer(204, "")

    def answer(self, status, text):
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Mailer).serve_forever()
