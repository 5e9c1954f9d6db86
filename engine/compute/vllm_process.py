"""One vLLM engine as a program of its own: prompts come in as JSON lines, responses go out; token ids both ways.

Runs under whatever interpreter has vLLM, so it uses the standard library and vLLM alone and must not import cream-tui.
Started by file path with the descriptor that answers go to as its argument; the first line that it reads is the
settings, each further one a prompt. What vLLM prints goes to the log. Ends when its input ends or its parent dies.

    in    {"engine": {...}, "sampling": {...}}           then  {"id": "17", "token_ids": [...], "seed": 5}
    out   {"ready": true} or {"failed": "why"}           then  {"id": "17", "responses": [[token ids, finish, logprob]]}
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import queue
import signal
import sys
import threading
import traceback
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn, TextIO

PR_SET_PDEATHSIG = 1
CPU_CACHE_BYTES = 512 << 20  # of keys and values; vLLM's own choice on a CPU takes half of the machine
CPU_SETTINGS = {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "TORCH_COMPILE_DISABLE": "1"}
# The engine in this very process, so that neither outlives the other; weights come from a folder; nothing is reported.
SETTINGS = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "HF_HUB_OFFLINE": "1",
}
LONGEST_REASON = 300


class Engine:
    """vLLM's engine with one model, at most one adapter, and one way to sample."""

    def __init__(self, engine: dict[str, Any], sampling: dict[str, Any]) -> None:
        from vllm import LLM
        from vllm.lora.request import LoRARequest

        adapter, rank = engine.pop("adapter"), engine.pop("adapter_rank")
        if adapter is not None:
            engine |= {"enable_lora": True, "max_lora_rank": rank, "max_loras": 1}
        if is_cpu_build():
            # The random streams of CPUs cannot be turned back, which vLLM does after a part of a prompt.
            engine |= {"enable_chunked_prefill": False, "max_num_batched_tokens": max(4096, engine["max_model_len"])}
            engine |= {"kv_cache_memory_bytes": CPU_CACHE_BYTES, "enforce_eager": True}
        self.adapter = None if adapter is None else LoRARequest("policy", 1, adapter)
        self.sampling = sampling
        self.llm = LLM(
            **engine,
            skip_tokenizer_init=True,
            generation_config="vllm",
            enable_prefix_caching=True,
            logprobs_mode="raw_logprobs",
        )

    def add(self, request: dict[str, Any]) -> None:
        """Take a prompt; its whole group is sampled behind one prefill."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        biases = {int(token): bias for token, bias in self.sampling["biases"]}
        parameters = SamplingParams(
            n=self.sampling["n"],
            seed=request["seed"],
            temperature=self.sampling["temperature"],
            top_p=self.sampling["top_p"],
            max_tokens=self.sampling["max_tokens"],
            stop_token_ids=self.sampling["end_token_ids"],
            logit_bias=biases or None,
            logprobs=0,
            ignore_eos=True,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        (prompt,) = self.llm.renderer.render_cmpl([{"prompt_token_ids": request["token_ids"]}])
        self.llm.llm_engine.add_request(request["id"], prompt, parameters, lora_request=self.adapter)

    def step(self) -> list[dict[str, Any]]:
        """Compute one token of everything under way; return the answers that are whole by now."""
        answers = []
        for output in self.llm.llm_engine.step():
            if output.finished:
                responses = [describe(r) for r in sorted(output.outputs, key=lambda r: r.index)]
                answers.append({"id": output.request_id, "responses": responses})
        return answers

    def has_work(self) -> bool:
        """Return whether a prompt is under way."""
        return bool(self.llm.llm_engine.has_unfinished_requests())


def describe(response: Any) -> list[Any]:
    """Return token ids, finish and the summed log-prob at temperature 1."""
    ids = [int(token) for token in response.token_ids]
    logprobs = [position[token].logprob for token, position in zip(ids, response.logprobs, strict=True)]
    return [ids, response.finish_reason, float(sum(logprobs))]


def is_cpu_build() -> bool:
    """Return whether this vLLM was built for CPUs."""
    names = {"vllm", "vllm-cpu"} & {d.metadata["Name"] for d in metadata.distributions() if d.metadata["Name"]}
    return "vllm-cpu" in names or any("cpu" in metadata.version(name) for name in names)


def serve(lines: queue.Queue[str], answers: TextIO) -> NoReturn:
    """Answer prompts for as long as they come."""
    engine = Engine(**json.loads(lines.get()))
    send(answers, {"ready": True})
    while True:
        # Everything that has come meanwhile joins the next step; without work, wait for the next prompt.
        while not engine.has_work() or not lines.empty():
            engine.add(json.loads(lines.get()))
        for answer in engine.step():
            send(answers, answer)


def send(answers: TextIO, answer: dict[str, Any]) -> None:
    """Write one line."""
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def read_lines(lines: queue.Queue[str]) -> NoReturn:
    """Pass on the input line by line; where it ends nobody waits for answers, so the process ends, even while loading.

    vLLM's own end can hang; its workers end with their parent.
    """
    for line in sys.stdin:
        lines.put(line)
    os._exit(0)


def explain(error: BaseException) -> str:
    """Return the line of a message that names the cause: vLLM's validators put theirs into the second."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    found = next((line.partition("error, ")[2] for line in lines if "error, " in line), lines[0])
    return found if len(found) <= LONGEST_REASON else found[:LONGEST_REASON] + " ..."


def end_with_parent() -> None:
    """Have the kernel kill this process when its parent dies, however that happens."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def main(descriptor: int) -> NoReturn:
    """Run one engine to the end of its input, or to its failure."""
    end_with_parent()
    os.set_inheritable(descriptor, False)
    for name, value in (SETTINGS | (CPU_SETTINGS if is_cpu_build() else {})).items():
        os.environ.setdefault(name, value)
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=read_lines, args=(lines,), daemon=True).start()
    with os.fdopen(descriptor, "w") as answers:
        try:
            serve(lines, answers)
        except Exception as error:  # vLLM raises whatever its parts raise; all of it ends this engine
            traceback.print_exc()
            with contextlib.suppress(OSError):
                send(answers, {"failed": explain(error)})
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(1)


if __name__ == "__main__":
    # Our folder must not hide other libraries' modules from vLLM.
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]
    main(int(sys.argv[1]))
