#!/usr/bin/env python3
"""A service of a small shop that takes part in transactions.

    participant.py stock 9201 FILE      # 5 books, kept in FILE
    participant.py payment 9202 FILE    # 30 coins
    participant.py order 9203 FILE      # takes any order

Python's standard library alone: the mesh calls it with plain HTTP. What it owes
(docs/transactions.md): it does a call at most once however often it comes; what it
holds after a yes is on disk before it says so; and once it has rolled a transaction
back it refuses to prepare it.
"""
import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NAME, PORT, FILE = sys.argv[1], int(sys.argv[2]), sys.argv[3]
FIELD = {"stock": "books", "payment": "coins", "order": None}[NAME]
lock = threading.Lock()
state = {"left": {"stock": 5, "payment": 30}.get(NAME, 0), "branches": {}}
if os.path.exists(FILE):
    with open(FILE) as f:
        state = json.load(f)


def save():
    """Whole or not at all, and on disk before anybody is told."""
    with open(FILE + ".new", "w") as f:
        json.dump(state, f)
        f.flush()
        os.fsync(f.fileno())
    os.replace(FILE + ".new", FILE)


def prepare(tx, data):
    branch = state["branches"].get(tx)
    if branch:
        return (409, "it was rolled back") if branch["is"] == "rolled back" else (200, branch["is"])
    take = data.get(FIELD, 0) if FIELD else 0
    if take > state["left"]:
        return 409, f"{take} {FIELD} are wanted and {state['left']} left"
    state["left"] -= take  # the hold: nobody else gets it
    state["branches"][tx] = {"is": "prepared", "take": take}
    return 200, "prepared"


def commit(tx, _):
    branch = state["branches"].get(tx)
    if not branch or branch["is"] == "rolled back":
        return 409, "nothing is prepared"  # the transaction becomes HEURISTIC: a person must look
    branch["is"] = "committed"
    return 200, "committed"


def rollback(tx, _):
    branch = state["branches"].setdefault(tx, {"is": "", "take": 0})
    if branch["is"] == "committed":
        return 409, "it was committed"
    if branch["is"] == "prepared":
        state["left"] += branch["take"]
    branch["is"] = "rolled back"
    return 200, "rolled back"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        do = {"/tx/prepare": prepare, "/tx/commit": commit, "/tx/rollback": rollback}.get(self.path)
        if not do:
            return self.answer(404, "no such page")
        with lock:
            status, text = do(self.headers["Mesh-Transaction-Id"], json.loads(body or b"{}"))
            save()
        self.answer(status, text)

    def do_GET(self):
        with lock:
            self.answer(200, json.dumps(state))

    def answer(self, status, text):
        raw = (text + "\n").encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_):
        pass


print(f"{NAME} listens on 127.0.0.1:{PORT}", flush=True)
ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
