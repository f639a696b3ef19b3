"""Rewards of `querent score --serve` for verl: custom_reward_function.path=jobs/shims/verl.py (its name is compute_score).

ground_truth, or extra_info["user_id"], is a profile's user id. QUERENT_SCORE_URL is the server's address, such as http://127.0.0.1:8123,
and QUERENT_SCORE_TOKEN its token. The answer has the same keys every time; a reward that could not be had is 0 with undecided 1.
"""

import json
import os
import time
import urllib.error
import urllib.request

KEYS = ("align", "coverage", "specificity", "diversity", "structure", "copied", "undecided")


def compute_score(data_source, solution_str, ground_truth, extra_info=None, **kwargs):
    """The reward of one list, as score, and its components."""
    user_id = (extra_info or {}).get("user_id") or ground_truth
    body = json.dumps({"prompt": "", "response": solution_str, "label": user_id}).encode()
    headers = {"authorization": "Bearer " + os.environ["QUERENT_SCORE_TOKEN"], "content-type": "application/json"}
    request = urllib.request.Request(os.environ["QUERENT_SCORE_URL"] + "/reward", body, headers)
    for _ in range(8):
        try:
            with urllib.request.urlopen(request, timeout=600) as response:
                answer = json.load(response)
                return {"score": answer["reward"], **{key: answer[key] for key in KEYS}}
        except urllib.error.HTTPError as error:
            if error.code != 503:  # 503: ask again
                raise RuntimeError(f"querent score: HTTP {error.code}: {error.read().decode()}") from error
            time.sleep(1)
    return {"score": 0.0, **dict.fromkeys(KEYS, 0.0), "undecided": 1.0}
