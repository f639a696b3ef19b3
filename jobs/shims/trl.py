"""Rewards of `querent score --serve` for TRL: `from jobs.shims.trl import querent_reward` in the repository's folder, then
GRPOTrainer(reward_funcs=[querent_reward], ...).

The data set needs a column user_id, a profile's. QUERENT_SCORE_URL is the server's address, such as http://127.0.0.1:8123, and
QUERENT_SCORE_TOKEN its token. A reward that could not be had is None, which TRL leaves out.
"""

import json
import os
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor


def score(user_id, text):
    """The server's answer about one list: reward, components, copied, undecided; None where it has none."""
    body = json.dumps({"prompt": "", "response": text, "label": user_id}).encode()
    headers = {"authorization": "Bearer " + os.environ["QUERENT_SCORE_TOKEN"], "content-type": "application/json"}
    request = urllib.request.Request(os.environ["QUERENT_SCORE_URL"] + "/reward", body, headers)
    for _ in range(8):
        try:
            with urllib.request.urlopen(request, timeout=600) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            if error.code != 503:  # 503: ask again
                raise RuntimeError(f"querent score: HTTP {error.code}: {error.read().decode()}") from error
            time.sleep(1)
    return None


def querent_reward(prompts, completions, completion_ids=None, *, user_id, **columns):
    """A reward per completion, each a text or a list of messages."""
    texts = [text if isinstance(text, str) else text[-1]["content"] for text in completions]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(score, user_id, texts))
    return [None if answer is None else answer["reward"] for answer in answers]
