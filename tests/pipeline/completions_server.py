"""A server of OpenAI's completions protocol for tests: real HTTP, a tiny real model behind it, and faults on demand."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import torch
from transformers import PreTrainedModel

# What answers a request instead: status, headers and body.
Fault = tuple[int, dict[str, str], str]


class CompletionsServer:
    """Greedy answers of a model, under one name; ``faults`` are given in turn, before any real answer."""

    def __init__(
        self, model: PreTrainedModel, *, name: str, key: str | None = None, n_vocab: int | None = None
    ) -> None:
        self.model = model
        self.served: dict[str, str | None] = {name: None}
        self.key = key
        self.n_vocab = n_vocab
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.change: Callable[[dict[str, Any]], None] = lambda choice: None
        self.may_load = False
        self.lock = threading.Lock()
        self.url = ""

    def answer(self, path: str, authorization: str | None, body: dict[str, Any]) -> Fault:
        """Return what a request gets."""
        with self.lock:
            self.requests.append((path, body))
            if self.faults:
                return self.faults.pop(0)
        if self.key is not None and authorization != f"Bearer {self.key}":
            return 401, {}, json.dumps({"error": {"message": f"wrong key {authorization}"}})
        if path == "/v1/models":
            return 200, {}, json.dumps({"data": [{"id": n, "parent": p} for n, p in self.served.items()]})
        if path == "/v1/load_lora_adapter" and self.may_load:
            self.served[body["lora_name"]] = next(iter(self.served))
            return 200, {}, "Success"
        if path == "/v1/completions" and body["model"] in self.served:
            return 200, {}, json.dumps({"choices": [self.complete(body, index) for index in range(body["n"])]})
        return 404, {}, json.dumps({"error": {"message": "no such thing\nand more"}})

    def complete(self, body: dict[str, Any], index: int) -> dict[str, Any]:
        """Return one choice in vLLM's form, token by token the most likely one."""
        ids, logprobs = list(body["prompt"]), []
        finish = "length"
        for _ in range(body["max_tokens"]):
            with torch.no_grad():
                scores = self.model(input_ids=torch.tensor([ids])).logits[0, -1].log_softmax(-1)
            token = int(scores[: self.n_vocab].argmax())
            ids.append(token)
            logprobs.append(float(scores[token]))
            if token in body["stop_token_ids"]:
                finish = "stop"
                break
        choice = {
            "index": index,
            "text": "",
            "token_ids": ids[len(body["prompt"]) :],
            "prompt_token_ids": body["prompt"],
            "logprobs": {"token_logprobs": logprobs},
            "finish_reason": finish,
        }
        self.change(choice)
        return choice


@contextmanager
def serve(server: CompletionsServer) -> Iterator[CompletionsServer]:
    """Run the server on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply({})

        def do_POST(self) -> None:
            self.reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def reply(self, body: dict[str, Any]) -> None:
            status, headers, text = server.answer(self.path, self.headers.get("Authorization"), body)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(text.encode())), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server.url = f"http://127.0.0.1:{http.server_address[1]}/v1"
    thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
