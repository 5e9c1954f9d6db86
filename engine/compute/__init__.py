"""The torch side: models, sampling, log-probs, training. Knows no store."""

import logging

# It warns on import of a kernel that this project does not use.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
